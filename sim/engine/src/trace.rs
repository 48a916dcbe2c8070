//! The trace: a rolling hash over everything that happened, in order. Two runs with one seed must have the
//! same hash; when they do not, the checkpoints tell the thousand events in which they parted, and a sink
//! tells the event.

use crate::node::{SimNode, code};
use crate::seed::fold;
use burnin_runtime::Instant;
use std::fmt;

/// Events between two checkpoints.
pub const CHECKPOINT_EVENTS: u64 = 1000;

const K0: u64 = 0xa076_1d64_78bd_642f;
const K1: u64 = 0xe703_7ed1_a0b4_28db;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TraceKind {
    /// A task was picked and polled: spawn number of the task, number of ready tasks.
    Poll = 1,
    /// A timer fired: its number.
    Timer,
    /// A step of opening a connection: connection, step.
    Connect,
    /// Segments arrived: connection, bytes.
    Deliver,
    /// A sender learned of free space in the window: connection.
    Window,
    /// A sender stopped retransmitting: connection.
    GiveUp,
    /// A disk operation ended: kind, bytes or size.
    Disk,
    /// A node started, stopped, or a fault was applied: code, parameter.
    Fault,
}

/// One event, as a sink sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// The number of the event, from 1.
    pub event: u64,
    /// When.
    pub at: Instant,
    /// What.
    pub kind: TraceKind,
    /// Where.
    pub node: SimNode,
    /// Two numbers whose meaning is the kind's.
    pub detail: [u64; 2],
    /// The rolling hash after the event.
    pub hash: u64,
}

impl TraceEvent {
    /// The name of a fault that was applied or ended here; starts and exits of processes are none.
    pub fn fault(&self) -> Option<&'static str> {
        let name = match self.detail[0] {
            _ if self.kind != TraceKind::Fault => return None,
            code::KILL => "process.kill",
            code::POWER_LOSS => "process.power_loss",
            code::PAUSE => "process.pause",
            code::RESUME => "process.resume",
            code::WIPE => "disk.wipe",
            code::CLOCK => "clock",
            code::NET => "net",
            code::DISK => "disk",
            _ => return None,
        };
        Some(name)
    }
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, at, kind, node, detail: [a, b], hash } = self;
        write!(f, "#{event} {at} node {} {kind:?} {a} {b} hash {hash:016x}", node.index())
    }
}

/// Receives every event. It must not call the engine.
pub type TraceSink = Box<dyn FnMut(&TraceEvent) + Send>;

/// The fingerprint of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The rolling hash after the last event.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// The rolling hash after each [`CHECKPOINT_EVENTS`] events.
    pub checkpoints: Vec<u64>,
}

impl Trace {
    /// The first thousand events (counted from 0) in which two runs differ; `None` when they do not.
    pub fn first_difference(&self, other: &Trace) -> Option<u64> {
        let differing = self.checkpoints.iter().zip(&other.checkpoints).position(|(a, b)| a != b);
        match differing {
            Some(index) => Some(index as u64),
            None if self == other => None,
            None => Some(self.checkpoints.len().min(other.checkpoints.len()) as u64),
        }
    }
}

/// Builds a [`Trace`].
#[derive(Default)]
pub(crate) struct Recorder {
    hash: u64,
    events: u64,
    to_checkpoint: u64,
    checkpoints: Vec<u64>,
    sink: Option<TraceSink>,
}

impl Recorder {
    pub(crate) fn new(seed: u64) -> Self {
        Recorder { hash: fold(seed ^ K0, K1), to_checkpoint: CHECKPOINT_EVENTS, ..Default::default() }
    }

    #[inline]
    pub(crate) fn record(&mut self, at: u64, kind: TraceKind, node: SimNode, a: u64, b: u64) {
        let place = (kind as u64) << 32 | node.0 as u64;
        self.hash = fold(self.hash ^ at ^ K0, K1 ^ a.wrapping_add(place << 16)).wrapping_add(place);
        self.hash = fold(self.hash ^ b, K0).wrapping_add(K1);
        self.events += 1;
        self.to_checkpoint -= 1;
        if self.to_checkpoint == 0 {
            self.to_checkpoint = CHECKPOINT_EVENTS;
            self.checkpoints.push(self.hash);
        }
        if let Some(sink) = &mut self.sink {
            let (event, hash) = (self.events, self.hash);
            sink(&TraceEvent { event, at: Instant::from_nanos(at), kind, node, detail: [a, b], hash });
        }
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn set_sink(&mut self, sink: Option<TraceSink>) -> Option<TraceSink> {
        std::mem::replace(&mut self.sink, sink)
    }

    pub(crate) fn trace(&self) -> Trace {
        Trace { hash: self.hash, events: self.events, checkpoints: self.checkpoints.clone() }
    }
}
