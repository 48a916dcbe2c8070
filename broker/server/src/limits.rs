//! Limits on connections and on the memory of requests (`ConnectionQuotas` and `SimpleMemoryPool` of Kafka).

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};

/// Which connections are open.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounts {
    by_address: BTreeMap<IpAddr, usize>,
    all: usize,
}

/// How many connections may be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// `max.connections`.
    pub all: usize,
    /// `max.connections.per.ip`.
    pub per_address: usize,
    /// `max.connections.per.ip.overrides`.
    pub overrides: BTreeMap<IpAddr, usize>,
}

impl ConnectionLimits {
    /// Reads `address:limit` pairs, separated by commas; what is no such pair is left out.
    pub(crate) fn parse_overrides(text: &str) -> BTreeMap<IpAddr, usize> {
        let pair = |pair: &str| {
            let (address, limit) = pair.trim().rsplit_once(':')?;
            Some((address.trim_matches(['[', ']']).parse().ok()?, limit.trim().parse().ok()?))
        };
        text.split(',').filter_map(pair).collect()
    }
}

impl ConnectionCounts {
    /// Counts a connection, unless there are too many; the error says which limit was hit.
    pub(crate) fn open(&mut self, address: IpAddr, limits: &ConnectionLimits) -> Result<(), String> {
        let here = self.by_address.get(&address).copied().unwrap_or(0);
        let limit = limits.overrides.get(&address).copied().unwrap_or(limits.per_address);
        if self.all >= limits.all {
            return Err(format!("max.connections={} are open", limits.all));
        }
        if here >= limit {
            return Err(format!("{limit} connections of {address} are open (max.connections.per.ip)"));
        }
        self.by_address.insert(address, here + 1);
        self.all += 1;
        Ok(())
    }

    /// Forgets a connection that was counted.
    pub(crate) fn close(&mut self, address: IpAddr) {
        let here = self.by_address.get_mut(&address).expect("a connection is counted before it is closed");
        *here -= 1;
        if *here == 0 {
            self.by_address.remove(&address);
        }
        self.all -= 1;
    }
}

/// The memory that requests may take (`queued.max.request.bytes`).
#[derive(Debug)]
pub(crate) struct RequestMemory {
    max: Option<usize>,
    state: Mutex<MemoryState>,
}

#[derive(Debug, Default)]
struct MemoryState {
    used: usize,
    waiting: BTreeMap<u64, Waker>,
}

impl RequestMemory {
    /// With this limit, or none.
    pub(crate) fn new(max: Option<usize>) -> RequestMemory {
        RequestMemory { max, state: Mutex::default() }
    }

    /// Takes `bytes` for connection `id` as soon as there is room. A request that is larger than the limit gets
    /// through when no other is in memory. What was taken must be given back with [`RequestMemory::give_back`].
    pub(crate) fn poll_take(&self, id: u64, bytes: usize, cx: &mut Context<'_>) -> Poll<()> {
        let Some(max) = self.max else { return Poll::Ready(()) };
        let mut state = self.state.lock();
        if state.used == 0 || state.used + bytes <= max {
            state.used += bytes;
            state.waiting.remove(&id);
            return Poll::Ready(());
        }
        state.waiting.insert(id, cx.waker().clone());
        Poll::Pending
    }

    /// Gives back and wakes whoever waits.
    pub(crate) fn give_back(&self, bytes: usize) {
        if self.max.is_none() || bytes == 0 {
            return;
        }
        let waiting = {
            let mut state = self.state.lock();
            state.used -= bytes;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    /// A connection that ends waits no more.
    pub(crate) fn forget(&self, id: u64) {
        if self.max.is_some() {
            self.state.lock().waiting.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_all_and_by_address() {
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let overrides = ConnectionLimits::parse_overrides("10.0.0.2:1, nonsense, [::1]:5");
        assert_eq!(overrides.len(), 2);
        let limits = ConnectionLimits { all: 3, per_address: 2, overrides };
        let mut counts = ConnectionCounts::default();
        assert!(counts.open(a, &limits).is_ok() && counts.open(a, &limits).is_ok());
        assert!(counts.open(a, &limits).unwrap_err().contains("per.ip"));
        assert!(counts.open(b, &limits).is_ok());
        counts.close(a);
        assert!(counts.open(b, &limits).is_err(), "the override of b is 1");
        assert!(counts.open(a, &limits).is_ok());
        assert!(counts.open([10, 0, 0, 3].into(), &limits).unwrap_err().contains("max.connections=3"));
    }

    #[test]
    fn request_memory_waits_for_room_and_lets_one_oversized_request_through() {
        let mut cx = Context::from_waker(Waker::noop());
        let memory = RequestMemory::new(Some(100));
        assert!(memory.poll_take(1, 1000, &mut cx).is_ready(), "nothing else is in memory");
        assert!(memory.poll_take(2, 1, &mut cx).is_pending());
        memory.give_back(1000);
        assert!(memory.poll_take(2, 60, &mut cx).is_ready() && memory.poll_take(3, 40, &mut cx).is_ready());
        assert!(memory.poll_take(4, 1, &mut cx).is_pending());
        assert!(RequestMemory::new(None).poll_take(1, usize::MAX, &mut cx).is_ready());
    }
}
