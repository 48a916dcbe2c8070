//! A producer: batching, retries and idempotence, with the outcome of every attempt told to an observer.
//!
//! `batch.rs` and `partition.rs` hold the rules of one partition, `state.rs` spreads partitions over brokers,
//! and this file is what the world sees. A producer has one task for its timers (one timer, for the earliest
//! deadline) and one that obtains producer ids; requests are sent and answers taken in on the tasks of the
//! caller and of the connections.

mod batch;
mod partition;
mod state;
#[cfg(test)]
mod tests;

use crate::client::{Client, Network};
use crate::config::ProducerConfig;
use crate::error::ClientError;
use crate::metadata::PartitionRef;
use crate::net::{Lane, NetworkListener, RequestFailure, ResponseHandler};
use crate::{outcome, requests};
use burnin_history::Outcome;
use burnin_runtime::{Instant, Runtime};
use burnin_wire::Response;
use parking_lot::{Mutex, MutexGuard};
use state::{State, Wanted};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// A record to write.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// What an observer is told. Tokens are those that were given to [`Producer::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerEvent {
    /// One attempt ended. An attempt of which not a byte was sent is none.
    Attempt {
        /// Which call.
        token: u64,
        /// Which attempt: 1, 2, ...
        attempt: u32,
        /// The broker that was asked (-1: the call was given up before the attempt ended).
        node: i32,
        /// What this attempt did.
        outcome: Outcome,
        /// Kafka's error code, or one of [`crate::outcome`]'s.
        error_code: i16,
    },
    /// The call is over: every call ends with exactly one of these.
    Completed {
        /// Which call.
        token: u64,
        /// What all attempts together did.
        outcome: Outcome,
        /// Where its first record is; only with [`Outcome::Applied`], and not when the broker recognised a
        /// duplicate without knowing where it is.
        base_offset: Option<i64>,
        /// What the last attempt said.
        error_code: i16,
    },
}

/// Who is told how calls end. Called without locks held, one event at a time, in order; it may send more.
pub trait ProducerObserver: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: ProducerEvent);
}

/// A producer. Dropping it forgets what is unfinished; [`Producer::close`] ends it in order.
pub struct Producer<R: Runtime> {
    client: Client<R>,
    shared: Arc<Shared>,
    _tasks: Vec<R::Task<()>>,
}

struct Shared {
    state: Mutex<State>,
    network: Weak<dyn Network>,
    observer: Arc<dyn ProducerObserver>,
    this: Weak<Shared>,
    timer: Notify,
    id: Notify,
    idle: Notify,
}

impl<R: Runtime> Producer<R> {
    /// A producer on the connections of `client`.
    pub fn new(
        client: &Client<R>,
        config: ProducerConfig,
        observer: Arc<dyn ProducerObserver>,
    ) -> Result<Self, ClientError> {
        config.validate()?;
        let runtime = client.runtime();
        let idempotent = config.idempotence;
        let shared = Arc::new_cyclic(|this: &Weak<Shared>| Shared {
            state: Mutex::new(State::new(config, client.config(), runtime.entropy("client/producer"))),
            network: client.network(),
            observer,
            this: this.clone(),
            timer: Notify::new(),
            id: Notify::new(),
            idle: Notify::new(),
        });
        let listener: Weak<Shared> = Arc::downgrade(&shared);
        client.listen(listener);
        let mut tasks = vec![runtime.spawn("client/producer-timer", timers(runtime.clone(), shared.clone()))];
        if idempotent {
            tasks.push(runtime.spawn("client/producer-id", producer_ids(client.clone(), shared.clone())));
        }
        Ok(Producer { client: client.clone(), shared, _tasks: tasks })
    }

    /// Hands records over that go into one batch of one partition. The observer is told how it ends, under this
    /// token. An error means that nothing was taken.
    pub fn send(&self, to: PartitionRef, token: u64, records: &[RecordRef<'_>]) -> Result<(), ClientError> {
        let network = self.shared.network.upgrade().ok_or(ClientError::Closed("client"))?;
        let now = self.client.runtime().now();
        let mut state = self.shared.state.lock();
        if state.append(now, &*network, to, token, records)? {
            self.shared.drive(now, state);
        }
        Ok(())
    }

    /// Waits until every call so far is over. Does not wait for `linger.ms`.
    pub async fn flush(&self) {
        self.shared.set_flush(self.client.runtime().now(), true);
        loop {
            let idle = self.shared.idle.notified();
            if self.shared.state.lock().is_idle() {
                break;
            }
            idle.await;
        }
        self.shared.set_flush(self.client.runtime().now(), false);
    }

    /// Waits up to `wait` for what is unfinished, gives up the rest, and takes nothing more.
    pub async fn close(&self, wait: Duration) {
        let runtime = self.client.runtime();
        let _ = burnin_runtime::timeout(runtime, wait, self.flush()).await;
        let mut state = self.shared.state.lock();
        state.close();
        self.shared.deliver(state);
    }
}

impl Shared {
    fn set_flush(&self, now: Instant, flush: bool) {
        let mut state = self.state.lock();
        state.flush = flush;
        self.drive(now, state);
    }

    /// Sends what can be sent, asks for what is missing, tells the observer.
    fn drive<'a>(&'a self, now: Instant, mut state: MutexGuard<'a, State>) {
        let handler: Weak<dyn ResponseHandler> = self.this.clone();
        let wanted = state.drive(now, &handler);
        self.deliver(state);
        self.serve(wanted);
    }

    fn serve(&self, wanted: Wanted) {
        if wanted.timer {
            self.timer.notify_one();
        }
        if wanted.id {
            self.id.notify_one();
        }
        if wanted.metadata
            && let Some(network) = self.network.upgrade()
        {
            network.refresh_metadata();
        }
    }

    /// Hands the collected events out, in order, whichever task collected them.
    fn deliver<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.delivering {
            return;
        }
        let mut batch = Vec::new();
        while !state.events.is_empty() {
            state.delivering = true;
            std::mem::swap(&mut batch, &mut state.events);
            drop(state);
            for event in batch.drain(..) {
                self.observer.on_event(event);
            }
            state = self.state.lock();
            state.delivering = false;
        }
        if state.is_idle() {
            drop(state);
            self.idle.notify_waiters();
        }
    }
}

impl ResponseHandler for Shared {
    fn on_response(
        &self,
        now: Instant,
        node: i32,
        token: u64,
        result: Result<Option<Response>, RequestFailure>,
    ) {
        let mut state = self.state.lock();
        if state.answered(now, node, token, result)
            && let Some(network) = self.network.upgrade()
        {
            network.refresh_metadata();
        }
        self.drive(now, state);
    }
}

impl NetworkListener for Shared {
    fn connection_changed(&self, now: Instant, _node: i32, lane: Lane, _up: bool) {
        if lane == Lane::Main {
            self.drive(now, self.state.lock());
        }
    }

    fn metadata_changed(&self, now: Instant) {
        let Some(network) = self.network.upgrade() else { return };
        let mut state = self.state.lock();
        state.assign_leaders(&*network);
        self.drive(now, state);
    }
}

/// The one timer: lingering batches, backoffs, delivery timeouts.
async fn timers<R: Runtime>(runtime: R, shared: Arc<Shared>) {
    loop {
        let at = shared.state.lock().armed;
        let woken = shared.timer.notified();
        if at == Instant::FAR_FUTURE {
            woken.await;
            continue;
        }
        let left = at.since(runtime.now());
        if burnin_runtime::timeout(&runtime, left, woken).await.is_some() {
            continue;
        }
        let now = runtime.now();
        let mut state = shared.state.lock();
        state.armed = Instant::FAR_FUTURE;
        state.expire(now);
        let handler: Weak<dyn ResponseHandler> = shared.this.clone();
        let wanted = state.drive(now, &handler);
        shared.deliver(state);
        // This task looks at the timer anyway.
        shared.serve(Wanted { timer: false, ..wanted });
    }
}

/// Obtains producer ids when they are wanted.
async fn producer_ids<R: Runtime>(client: Client<R>, shared: Arc<Shared>) {
    let runtime = client.runtime().clone();
    let mut entropy = runtime.entropy("client/producer-id");
    let mut failures = 0u32;
    loop {
        if failures == 0 {
            shared.id.notified().await;
        } else {
            runtime.sleep(client.config().retry_backoff.after(failures, &mut entropy)).await;
        }
        let node = client.any_broker(&mut entropy);
        let (code, id) = match client.request(node, requests::init_producer_id()).await {
            Ok(Response::InitProducerId(response)) => (response.error_code, response.producer_id.0),
            Ok(other) => unreachable!("InitProducerId was answered with {}", other.api()),
            Err(error) => {
                tracing::debug!(%error, "no producer id");
                (outcome::CONNECTION_BROKE, -1)
            }
        };
        if code != 0 || id < 0 {
            failures = failures.saturating_add(1);
            continue;
        }
        failures = 0;
        let mut state = shared.state.lock();
        state.set_producer_id(id);
        shared.drive(runtime.now(), state);
    }
}
