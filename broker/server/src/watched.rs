//! A value that tasks wait on. As `tokio::sync::watch`, which wakes its receivers in an order that it draws at random;
//! here they are woken in the order in which they began to wait.

use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Notify;

struct Inner<T> {
    /// With how often it has changed.
    value: Mutex<(T, u64)>,
    changed: Notify,
}

/// See the module. Clones are the same value.
pub(crate) struct Watched<T>(Arc<Inner<T>>);

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Watched(self.0.clone())
    }
}

/// Somebody who has seen one state of the value.
pub(crate) struct Watcher<T> {
    inner: Arc<Inner<T>>,
    seen: u64,
}

impl<T: Clone + PartialEq> Watched<T> {
    pub(crate) fn new(value: T) -> Watched<T> {
        Watched(Arc::new(Inner { value: Mutex::new((value, 0)), changed: Notify::new() }))
    }

    /// The value as it is now.
    pub(crate) fn get(&self) -> T {
        self.0.value.lock().0.clone()
    }

    /// Sets it, and wakes everybody who waits when that changes it.
    pub(crate) fn set(&self, value: T) {
        let mut current = self.0.value.lock();
        if current.0 != value {
            *current = (value, current.1 + 1);
            drop(current);
            self.0.changed.notify_waiters();
        }
    }

    /// Waits on it. What it is now counts as not seen.
    pub(crate) fn watch(&self) -> Watcher<T> {
        Watcher { inner: self.0.clone(), seen: u64::MAX }
    }
}

impl<T: Clone + PartialEq> Watcher<T> {
    /// The value, which counts as seen.
    pub(crate) fn see(&mut self) -> T {
        let value = self.inner.value.lock();
        self.seen = value.1;
        value.0.clone()
    }

    /// Waits until it is another one than the one that was seen.
    pub(crate) async fn changed(&self) {
        loop {
            let mut changed = pin!(self.inner.changed.notified());
            changed.as_mut().enable();
            if self.inner.value.lock().1 != self.seen {
                return;
            }
            changed.await;
        }
    }

    /// Waits until it satisfies `condition`.
    pub(crate) async fn wait_for(&mut self, condition: impl Fn(&T) -> bool) -> T {
        loop {
            let value = self.see();
            if condition(&value) {
                return value;
            }
            self.changed().await;
        }
    }
}
