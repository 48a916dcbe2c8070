//! Which fetcher fetches which partition: `num.replica.fetchers` to each leader, each a task with a connection of its
//! own.

use super::fetcher;
use super::hub::Key;
use super::partition::Partition;
use crate::shared::Shared;
use burnin_runtime::Runtime;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// What a fetcher is told.
pub(super) enum Order<R: Runtime> {
    /// Fetch this partition, in this leader epoch.
    Fetch(Arc<Partition<R>>, i32),
    /// Fetch it no more.
    Leave(Key),
}

/// Where a fetcher finds its orders.
pub(super) struct Inbox<R: Runtime> {
    orders: Mutex<Vec<Order<R>>>,
    wake: Notify,
}

impl<R: Runtime> Inbox<R> {
    pub(super) fn new() -> Arc<Inbox<R>> {
        Arc::new(Inbox { orders: Mutex::default(), wake: Notify::new() })
    }

    pub(super) fn put(&self, order: Order<R>) {
        self.orders.lock().push(order);
    }

    /// Has the fetcher look at its orders, if there are any.
    fn wake(&self) {
        if !self.orders.lock().is_empty() {
            self.wake.notify_one();
        }
    }

    pub(super) fn take(&self) -> Vec<Order<R>> {
        std::mem::take(&mut *self.orders.lock())
    }

    /// Waits for orders. What came since the last time counts.
    pub(super) async fn orders(&self) {
        self.wake.notified().await;
    }
}

/// See the module.
pub(crate) struct Fetchers<R: Runtime>(Mutex<State<R>>);

struct State<R: Runtime> {
    /// By leader and number.
    running: BTreeMap<(i32, usize), Running<R>>,
    assigned: BTreeMap<Key, (i32, usize)>,
    is_stopped: bool,
}

struct Running<R: Runtime> {
    inbox: Arc<Inbox<R>>,
    /// Dropping it ends the fetcher.
    _task: R::Task<()>,
}

impl<R: Runtime> Default for Fetchers<R> {
    fn default() -> Self {
        let state = State { running: BTreeMap::new(), assigned: BTreeMap::new(), is_stopped: false };
        Fetchers(Mutex::new(state))
    }
}

impl<R: Runtime> Fetchers<R> {
    /// Has a partition fetched from `leader` (-1: from nobody) from now on, and from nobody else.
    pub(super) fn assign(
        &self,
        shared: &Arc<Shared<R>>,
        partition: &Arc<Partition<R>>,
        leader: i32,
        leader_epoch: i32,
    ) {
        self.leave(&partition.key());
        if leader < 0 {
            return;
        }
        let mut state = self.0.lock();
        if state.is_stopped {
            return;
        }
        let id = (leader, fetcher_of(&partition.key(), shared.config.replication.fetchers));
        let running = state.running.entry(id).or_insert_with(|| {
            let inbox = Inbox::new();
            let work = fetcher::run(shared.clone(), leader, inbox.clone());
            Running { inbox, _task: shared.runtime.spawn("replica-fetcher", work) }
        });
        running.inbox.put(Order::Fetch(partition.clone(), leader_epoch));
        state.assigned.insert(partition.key(), id);
    }

    /// Has a partition fetched no more.
    pub(super) fn leave(&self, key: &Key) {
        let mut state = self.0.lock();
        let fetcher = state.assigned.remove(key);
        if let Some(running) = fetcher.and_then(|id| state.running.get(&id)) {
            running.inbox.put(Order::Leave(*key));
        }
    }

    /// Has fetchers look at what they were told. Not with each order: a fetcher that waits for news ends its request
    /// then, and one metadata change can concern a thousand partitions.
    pub(super) fn wake(&self) {
        self.0.lock().running.values().for_each(|running| running.inbox.wake());
    }

    /// Ends all fetchers for good.
    pub(crate) fn stop(&self) {
        let running = {
            let mut state = self.0.lock();
            state.is_stopped = true;
            state.assigned.clear();
            std::mem::take(&mut state.running)
        };
        drop(running);
    }
}

/// The same partition has the same fetcher, and the partitions of a topic spread over them.
fn fetcher_of(key: &Key, count: usize) -> usize {
    let topic = key.0.as_u64_pair();
    let spread = (topic.0 ^ topic.1).wrapping_mul(31).wrapping_add(key.1 as u64);
    (spread % count.max(1) as u64) as usize
}
