//! How a driver is told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// A signal that is given once and stays. A cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<(AtomicBool, Notify)>,
}

impl Stop {
    /// Not given yet.
    pub fn new() -> Self {
        Stop::default()
    }

    /// Gives the signal.
    pub fn stop(&self) {
        self.shared.0.store(true, Ordering::Release);
        self.shared.1.notify_waiters();
    }

    /// Whether it was given.
    pub fn is_stopped(&self) -> bool {
        self.shared.0.load(Ordering::Acquire)
    }

    /// Completes when it is given.
    pub async fn stopped(&self) {
        let notified = self.shared.1.notified();
        if !self.is_stopped() {
            notified.await;
        }
    }
}
