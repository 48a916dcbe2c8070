//! A consumer by assignment: it reads partitions from given offsets on and reports what it got.
//!
//! `state.rs` decides what is asked of whom, `session.rs` keeps fetch sessions, `fetched.rs` decodes. There is
//! no task: answers are taken in on the tasks of the connections, and [`Consumer::next`] does the rest.

mod fetched;
mod session;
mod state;

pub use fetched::Fetched;

use crate::client::{Client, Network};
use crate::config::ConsumerConfig;
use crate::error::ClientError;
use crate::metadata::PartitionRef;
use crate::net::{Lane, NetworkListener, RequestFailure, ResponseHandler};
use burnin_runtime::{Instant, Runtime, timeout};
use burnin_wire::{ErrorCode, Response};
use parking_lot::Mutex;
use state::State;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the log start.
    Earliest,
    /// At the end.
    Latest,
    /// At this offset.
    Offset(i64),
    /// At the first record whose timestamp is at least this; at the end when there is none.
    Timestamp(i64),
}

/// What a consumer reports.
#[derive(Clone, Debug)]
pub enum ConsumerEvent {
    /// Reading of a partition begins here: after an assignment, a seek, or a reset.
    Positioned {
        /// Whose.
        partition: PartitionRef,
        /// Where.
        offset: i64,
    },
    /// Records, or news of the log's ends.
    Fetched(Fetched),
    /// The offset does not exist. With [`crate::OffsetReset::None`] the partition is not read until the next
    /// seek; else a reset follows.
    OutOfRange {
        /// Whose.
        partition: PartitionRef,
        /// The offset that was wanted.
        offset: i64,
    },
    /// What was read before the position is no longer in the log (KIP-320). With [`crate::OffsetReset::None`]
    /// the partition is not read until the next seek; else it is read from `end_offset` on.
    Truncated {
        /// Whose.
        partition: PartitionRef,
        /// Where the reader was.
        position: i64,
        /// Where the log and what was read part; `None` when the broker cannot say.
        end_offset: Option<i64>,
    },
    /// A broker refused a request for the partition. It is tried again.
    Refused {
        /// Whose.
        partition: PartitionRef,
        /// Kafka's error.
        code: ErrorCode,
    },
}

/// A reader of assigned partitions.
pub struct Consumer<R: Runtime> {
    client: Client<R>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    network: Weak<dyn Network>,
    this: Weak<Shared>,
    lane: Lane,
    woken: Notify,
}

impl<R: Runtime> Consumer<R> {
    /// A consumer on the connections of `client`, but with a connection of its own to each broker for fetching.
    pub fn new(client: &Client<R>, config: ConsumerConfig) -> Self {
        let lane = client.fetch_lane();
        let entropy = client.runtime().entropy("client/consumer");
        let shared = Arc::new_cyclic(|this: &Weak<Shared>| Shared {
            state: Mutex::new(State::new(config, client.config(), lane, entropy)),
            network: client.network(),
            this: this.clone(),
            lane,
            woken: Notify::new(),
        });
        let listener: Weak<Shared> = Arc::downgrade(&shared);
        client.listen(listener);
        Consumer { client: client.clone(), shared }
    }

    /// Reads a partition from here on, whether it was read before or not. What was fetched and not yet handed
    /// out is dropped.
    pub fn seek(&self, partition: PartitionRef, start: StartAt) {
        let Some(network) = self.shared.network.upgrade() else { return };
        self.shared.state.lock().seek(&*network, partition, start);
        self.shared.woken.notify_one();
    }

    /// Stops reading a partition.
    pub fn unassign(&self, partition: PartitionRef) {
        self.shared.state.lock().unassign(partition);
    }

    /// Where the next fetch of a partition begins, once that is known.
    pub fn position(&self, partition: PartitionRef) -> Option<i64> {
        self.shared.state.lock().position(partition)
    }

    /// Waits for the next event. May be dropped while it waits: nothing is lost.
    pub async fn next(&self) -> Result<ConsumerEvent, ClientError> {
        let runtime = self.client.runtime();
        loop {
            let now = runtime.now();
            let deadline = {
                let mut state = self.shared.state.lock();
                let event = state.take_event();
                if state.must_drive(now) {
                    let network = self.shared.network.upgrade().ok_or(ClientError::Closed("client"))?;
                    let handler: Weak<dyn ResponseHandler> = self.shared.this.clone();
                    state.drive(now, &*network, &handler);
                }
                if let Some(event) = event {
                    return Ok(event);
                }
                state.look_again_at()
            };
            let woken = self.shared.woken.notified();
            if deadline == Instant::FAR_FUTURE {
                woken.await;
            } else {
                let _ = timeout(runtime, deadline.since(now), woken).await;
            }
        }
    }
}

impl Shared {
    fn update(&self, now: Instant, update: impl FnOnce(&mut State, &dyn Network)) {
        let Some(network) = self.network.upgrade() else { return };
        let handler: Weak<dyn ResponseHandler> = self.this.clone();
        let mut state = self.state.lock();
        update(&mut state, &*network);
        let look_again_at = state.look_again_at();
        state.drive(now, &*network, &handler);
        // The task in `next` has to know of an earlier time.
        let wake = state.has_events() || state.look_again_at() < look_again_at;
        drop(state);
        if wake {
            self.woken.notify_one();
        }
    }
}

impl ResponseHandler for Shared {
    fn on_response(
        &self,
        now: Instant,
        _node: i32,
        token: u64,
        result: Result<Option<Response>, RequestFailure>,
    ) {
        self.update(now, |state, network| state.answered(now, network, token, result));
    }
}

impl NetworkListener for Shared {
    fn connection_changed(&self, now: Instant, _node: i32, lane: Lane, _up: bool) {
        if lane == self.lane || lane == Lane::Main {
            self.update(now, |_, _| {});
        }
    }

    fn metadata_changed(&self, now: Instant) {
        self.update(now, |state, network| state.assign_leaders(network));
    }
}
