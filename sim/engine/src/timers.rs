//! The event queue: everything that happens at a time, in a heap that knows where each entry is, so that a
//! cancelled timer leaves nothing behind. Events of one instant come in the order in which they were set.

use crate::executor::Wake;
use crate::world::World;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A [`Sleep`] ends.
    Timer(Wake),
    /// A step of opening a connection.
    Connect { conn: u32, step: crate::net::Step },
    /// The first segment of a direction arrives.
    Deliver { conn: u32, from: u8 },
    /// The sender of a direction learns of space in the window.
    Window { conn: u32, from: u8 },
    /// The sender of a direction stops retransmitting.
    GiveUp { conn: u32, from: u8 },
    /// A disk operation ends.
    Disk { node: u32, op: u32 },
    /// A hanging disk comes back.
    DiskBack { node: u32 },
}

/// Names one entry of the queue; stale once it fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventKey {
    slot: u32,
    generation: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    number: u64,
    slot: u32,
}

impl Entry {
    #[inline]
    fn before(&self, other: &Entry) -> bool {
        (self.at, self.number) < (other.at, other.number)
    }
}

struct Slot {
    generation: u32,
    position: u32,
    event: Option<Event>,
}

const ARITY: usize = 4;

/// See the module.
#[derive(Default)]
pub(crate) struct EventQueue {
    heap: Vec<Entry>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    number: u64,
}

impl EventQueue {
    /// When the next event is due.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.at)
    }

    pub(crate) fn insert(&mut self, at: u64, event: Event) -> EventKey {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, position: 0, event: None });
                (self.slots.len() - 1) as u32
            }
        };
        self.number += 1;
        self.slots[slot as usize].event = Some(event);
        let entry = Entry { at, number: self.number, slot };
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1, entry);
        EventKey { slot, generation: self.slots[slot as usize].generation }
    }

    /// The event, while it waits.
    pub(crate) fn get_mut(&mut self, key: EventKey) -> Option<&mut Event> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation == key.generation { slot.event.as_mut() } else { None }
    }

    /// Takes an event back; `None` when it has fired or was cancelled before.
    pub(crate) fn cancel(&mut self, key: EventKey) -> Option<Event> {
        self.get_mut(key)?;
        let position = self.slots[key.slot as usize].position as usize;
        self.remove_at(position);
        Some(self.release(key.slot))
    }

    /// The next event if it is due at `now`, with its number.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<(u64, Event)> {
        let first = *self.heap.first()?;
        if first.at > now {
            return None;
        }
        self.remove_at(0);
        Some((first.number, self.release(first.slot)))
    }

    fn release(&mut self, index: u32) -> Event {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        slot.event.take().expect("a queued slot holds an event")
    }

    fn remove_at(&mut self, position: usize) {
        let last = self.heap.pop().expect("the queue is not empty");
        if position == self.heap.len() {
            return;
        }
        if position > 0 && last.before(&self.heap[(position - 1) / ARITY]) {
            self.sift_up(position, last);
        } else {
            self.sift_down(position, last);
        }
    }

    fn place(&mut self, position: usize, entry: Entry) {
        self.heap[position] = entry;
        self.slots[entry.slot as usize].position = position as u32;
    }

    fn sift_up(&mut self, mut position: usize, entry: Entry) {
        while position > 0 {
            let parent = (position - 1) / ARITY;
            let above = self.heap[parent];
            if !entry.before(&above) {
                break;
            }
            self.place(position, above);
            position = parent;
        }
        self.place(position, entry);
    }

    fn sift_down(&mut self, mut position: usize, entry: Entry) {
        loop {
            let first = position * ARITY + 1;
            if first >= self.heap.len() {
                break;
            }
            let end = (first + ARITY).min(self.heap.len());
            let mut least = first;
            for child in first + 1..end {
                if self.heap[child].before(&self.heap[least]) {
                    least = child;
                }
            }
            let below = self.heap[least];
            if !below.before(&entry) {
                break;
            }
            self.place(position, below);
            position = least;
        }
        self.place(position, entry);
    }
}

/// A timer. It takes a place in the queue when it is first polled, and gives it back when it is dropped.
pub struct Sleep {
    world: World,
    at: u64,
    key: Option<EventKey>,
}

impl Sleep {
    pub(crate) fn new(world: World, at: u64) -> Self {
        Sleep { world, at, key: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.world.now() >= self.at {
            self.key = None;
            return Poll::Ready(());
        }
        if self.at == u64::MAX {
            return Poll::Pending;
        }
        let (at, key) = (self.at, self.key);
        self.key = Some(self.world.with(|s| {
            let wake = s.waker(cx);
            if let Some(key) = key
                && let Some(event) = s.queue.get_mut(key)
            {
                let Event::Timer(old) = std::mem::replace(event, Event::Timer(wake)) else {
                    unreachable!("the key of a sleep names a timer")
                };
                s.forget(old);
                return key;
            }
            s.queue.insert(at, Event::Timer(wake))
        }));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.world.with_if_there(|s| {
                if let Some(Event::Timer(wake)) = s.queue.cancel(key) {
                    s.forget(wake);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u32) -> Event {
        Event::DiskBack { node: n }
    }

    fn node(event: Event) -> u32 {
        let Event::DiskBack { node } = event else { panic!("another event") };
        node
    }

    #[test]
    fn events_come_by_time_then_by_number_and_cancelled_ones_never() {
        let mut queue = EventQueue::default();
        let mut entropy = crate::seed::split(7, &["timers"], 0);
        let mut expected = Vec::new();
        let mut keys = Vec::new();
        for n in 0..5000u32 {
            let at = entropy.below(300);
            keys.push((queue.insert(at, event(n)), at, n));
            if n % 3 == 2 {
                let index = entropy.below(keys.len() as u64) as usize;
                let (key, _, n) = keys.swap_remove(index);
                assert_eq!(queue.cancel(key).map(node), Some(n));
                assert!(queue.cancel(key).is_none(), "cancelled twice");
            }
        }
        expected.extend(keys.iter().map(|&(_, at, n)| (at, n)));
        expected.sort_unstable();
        assert_eq!(queue.heap.len(), expected.len());
        let mut got = Vec::new();
        while let Some(at) = queue.next_at() {
            got.push((at, node(queue.pop_due(at).expect("due").1)));
        }
        assert_eq!(got, expected);
        assert!(queue.slots.len() < 5000, "slots are reused");
    }
}
