//! Stamps events with the time and hands them to the history's sink, in order.

use burnin_history::{Event, Moment, OpId, Sink};
use burnin_runtime::Runtime;
use parking_lot::Mutex;
use std::sync::Arc;

/// A cheap handle of a history that is being written. The sink stays in the caller's hands too, who reads the
/// verdict out of it in the end.
pub struct Recorder<R> {
    runtime: R,
    shared: Arc<Shared>,
}

struct Shared {
    /// Guards the order: a stamp is taken and an operation is numbered only while it is held.
    next_op: Mutex<u64>,
    sink: Arc<Mutex<dyn Sink + Send>>,
}

impl<R: Clone> Clone for Recorder<R> {
    fn clone(&self) -> Self {
        Recorder { runtime: self.runtime.clone(), shared: self.shared.clone() }
    }
}

impl<R: Runtime> Recorder<R> {
    /// Records into `sink`, by the clock of `runtime`.
    pub fn new(runtime: R, sink: Arc<Mutex<dyn Sink + Send>>) -> Self {
        Recorder { runtime, shared: Arc::new(Shared { next_op: Mutex::new(0), sink }) }
    }

    /// Now, in the history's time.
    pub fn now(&self) -> Moment {
        self.runtime.now().as_nanos()
    }

    /// `event` happened now.
    pub fn record(&self, event: &Event<'_>) {
        let _order = self.shared.next_op.lock();
        self.shared.sink.lock().record(self.now(), event);
    }

    /// An operation is invoked now: numbers it and records what `event` makes of the number.
    pub fn invoke<'a>(&self, event: impl FnOnce(OpId) -> Event<'a>) -> OpId {
        let mut next_op = self.shared.next_op.lock();
        let op = OpId(*next_op);
        *next_op += 1;
        self.shared.sink.lock().record(self.now(), &event(op));
        op
    }
}
