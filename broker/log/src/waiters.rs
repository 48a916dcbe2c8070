//! Who waits for a log: producers for an offset (once: until it is durable, or committed), long polls for progress
//! (again and again, until they lose interest).

use crate::log::Log;
use burnin_runtime::Runtime;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use tokio::sync::{Notify, oneshot};

/// Waiters for offsets, in offset order, and what they are told.
#[derive(Debug)]
pub struct Waiters<A> {
    waiting: VecDeque<(i64, oneshot::Sender<A>)>,
    /// When so many wait, those who gave up are sorted out.
    sweep_at: usize,
}

impl<A> Default for Waiters<A> {
    fn default() -> Self {
        Waiters { waiting: VecDeque::new(), sweep_at: 0 }
    }
}

impl<A: Clone> Waiters<A> {
    /// Waits until everything below `offset` is reached.
    pub fn add(&mut self, offset: i64) -> oneshot::Receiver<A> {
        if self.waiting.len() > self.sweep_at {
            self.waiting.retain(|(_, sender)| !sender.is_closed());
            self.sweep_at = self.waiting.len() * 2 + 64;
        }
        let (sender, receiver) = oneshot::channel();
        let at = self.waiting.partition_point(|&(other, _)| other <= offset);
        self.waiting.insert(at, (offset, sender));
        receiver
    }

    /// Everything below `offset` is reached: whoever waited for that is told `answer`.
    pub fn release(&mut self, offset: i64, answer: &A) {
        while self.waiting.front().is_some_and(|&(wanted, _)| wanted <= offset) {
            if let Some((_, sender)) = self.waiting.pop_front() {
                // Whoever gave up does not mind.
                let _ = sender.send(answer.clone());
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting.shrink_to(8);
        }
    }

    /// What is above `offset` will never come: whoever waits for it is told `answer`.
    pub fn release_above(&mut self, offset: i64, answer: &A) {
        while self.waiting.back().is_some_and(|&(wanted, _)| wanted > offset) {
            if let Some((_, sender)) = self.waiting.pop_back() {
                let _ = sender.send(answer.clone());
            }
        }
    }
}

/// What a watcher is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The log end offset grew (or the log ended: deleted, offline).
    Appended,
    /// The durable offset grew (or the log ended).
    Durable,
}

/// Is told each time the durable offset has grown, on the writer's task and without a lock of the log held: it must
/// not wait.
pub trait Listener: Send + Sync + 'static {
    /// The durable offset has grown.
    fn durable_moved(&self);
}

#[derive(Default)]
pub(crate) struct Watchers {
    pub(crate) listener: Option<Weak<dyn Listener>>,
    next_id: u64,
    watching: Vec<(u64, Event, Arc<Notify>)>,
}

impl Watchers {
    pub fn add(&mut self, event: Event, notify: Arc<Notify>) -> u64 {
        self.next_id += 1;
        self.watching.push((self.next_id, event, notify));
        self.next_id
    }

    pub fn notify(&self, happened: Event) {
        for (_, event, notify) in &self.watching {
            if *event == happened {
                notify.notify_one();
            }
        }
    }

    pub fn notify_all(&self) {
        for (_, _, notify) in &self.watching {
            notify.notify_one();
        }
    }

    fn remove(&mut self, id: u64) {
        self.watching.retain(|(other, _, _)| *other != id);
        if self.watching.is_empty() {
            self.watching = Vec::new();
        }
    }
}

/// Keeps a watcher registered; dropping it ends that.
pub struct Watch<R: Runtime> {
    log: Log<R>,
    id: u64,
}

impl<R: Runtime> Watch<R> {
    pub(crate) fn new(log: Log<R>, id: u64) -> Self {
        Watch { log, id }
    }
}

impl<R: Runtime> Drop for Watch<R> {
    fn drop(&mut self) {
        self.log.0.watchers.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_are_answered_in_offset_order_and_once() {
        let mut waiters = Waiters::default();
        let (mut late, mut early) = (waiters.add(20), waiters.add(10));
        waiters.release(15, &"reached");
        assert_eq!(early.try_recv(), Ok("reached"));
        assert!(late.try_recv().is_err());
        waiters.release_above(15, &"truncated");
        assert_eq!(late.try_recv(), Ok("truncated"));
    }

    #[test]
    fn those_who_gave_up_are_forgotten() {
        let mut waiters = Waiters::<()>::default();
        for n in 0..10_000 {
            drop(waiters.add(n));
        }
        assert!(waiters.waiting.len() <= 128, "{}", waiters.waiting.len());
    }
}
