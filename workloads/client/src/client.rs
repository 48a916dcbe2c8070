//! A client: the connections to a cluster and the metadata that says whom to ask, shared by producers,
//! consumers and admin calls.

use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::metadata::{Metadata, PartitionRef, TopicRef};
use crate::net::{self, Connection, Dial, Lane, NetworkListener, RequestFailure};
use burnin_runtime::{Instant, Runtime, Task};
use burnin_wire::{ErrorCode, Request, Response, StrBytes};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// What producers and consumers need of a client, whatever runtime it is for.
pub(crate) trait Network: Send + Sync {
    /// The connection to a broker that the metadata knows; made when missing.
    fn connection(&self, node: i32, lane: Lane) -> Option<Arc<Connection>>;
    /// Has the metadata fetched again, soon.
    fn refresh_metadata(&self);
    /// Looks at the metadata.
    fn with_metadata(&self, look: &mut dyn FnMut(&Metadata));
}

/// A client of one cluster. A cheap handle; when the last one is dropped, the connections end.
pub struct Client<R: Runtime> {
    inner: Arc<Inner<R>>,
    /// Closes everything when the last handle goes: tasks hold the inner part only weakly.
    _close: Arc<CloseOnDrop<R>>,
}

impl<R: Runtime> Clone for Client<R> {
    fn clone(&self) -> Self {
        Client { inner: self.inner.clone(), _close: self._close.clone() }
    }
}

pub(crate) struct Inner<R: Runtime> {
    pub runtime: R,
    pub config: Arc<ClientConfig>,
    bootstrap: Vec<(String, u16)>,
    metadata: Mutex<Metadata>,
    connections: Mutex<Connections<R>>,
    listeners: Mutex<Vec<Weak<dyn NetworkListener>>>,
    stale: Arc<Notify>,
    replaced: Arc<Notify>,
    refreshing: Mutex<Option<R::Task<()>>>,
    lanes: AtomicU32,
    this: Weak<Inner<R>>,
}

struct Connections<R: Runtime> {
    closed: bool,
    open: BTreeMap<(i32, Lane), Open<R>>,
}

struct Open<R: Runtime> {
    connection: Arc<Connection>,
    task: R::Task<()>,
}

struct CloseOnDrop<R: Runtime>(Arc<Inner<R>>);

impl<R: Runtime> Drop for CloseOnDrop<R> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<R: Runtime> Client<R> {
    /// A client that has reached no broker yet: the first request connects.
    pub fn new(runtime: R, config: ClientConfig) -> Result<Self, ClientError> {
        let bootstrap = config.validate()?;
        let inner = Arc::new_cyclic(|this: &Weak<Inner<R>>| Inner {
            runtime,
            config: Arc::new(config),
            bootstrap,
            metadata: Mutex::default(),
            connections: Mutex::new(Connections { closed: false, open: BTreeMap::new() }),
            listeners: Mutex::default(),
            stale: Arc::default(),
            replaced: Arc::default(),
            refreshing: Mutex::new(None),
            lanes: AtomicU32::new(0),
            this: this.clone(),
        });
        let refresh = inner.runtime.spawn("client/metadata", refresh_loop(Arc::downgrade(&inner)));
        *inner.refreshing.lock() = Some(refresh);
        Ok(Client { _close: Arc::new(CloseOnDrop(inner.clone())), inner })
    }

    /// A client that has reached a broker and knows the cluster.
    pub async fn connect(runtime: R, config: ClientConfig) -> Result<Self, ClientError> {
        let client = Client::new(runtime, config)?;
        client.refresh_metadata().await?;
        Ok(client)
    }

    /// The runtime that it lives in.
    pub fn runtime(&self) -> &R {
        &self.inner.runtime
    }

    /// Its settings.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// The number of a topic in this client. The topic need not exist.
    pub fn topic(&self, name: &str) -> TopicRef {
        let mut metadata = self.inner.metadata.lock();
        let known = metadata.topics().len();
        let topic = metadata.intern(name);
        if metadata.topics().len() > known {
            self.inner.stale.notify_one();
        }
        topic
    }

    /// A partition of a topic. Neither need exist.
    pub fn partition(&self, topic: &str, index: i32) -> PartitionRef {
        PartitionRef { topic: self.topic(topic), index }
    }

    /// A copy of what is known about the cluster.
    pub fn metadata(&self) -> Metadata {
        self.inner.metadata.lock().clone()
    }

    /// Waits until metadata was fetched once more.
    pub async fn refresh_metadata(&self) -> Result<(), ClientError> {
        let start = self.inner.runtime.now();
        let deadline = start + self.inner.config.api_timeout;
        let version = self.inner.metadata.lock().version;
        loop {
            let replaced = self.inner.replaced.notified();
            if self.inner.metadata.lock().version > version {
                return Ok(());
            }
            self.inner.stale.notify_one();
            let left = deadline.since(self.inner.runtime.now());
            if left.is_zero() || burnin_runtime::timeout(&self.inner.runtime, left, replaced).await.is_none()
            {
                return Err(ClientError::TimedOut {
                    what: format!("to fetch metadata from {}", self.inner.config.bootstrap.join(", ")),
                    waited_ms: self.inner.runtime.now().since(start).as_millis(),
                    last: "no broker answered".to_owned(),
                });
            }
        }
    }

    pub(crate) fn network(&self) -> Weak<dyn Network> {
        self.inner.this.clone()
    }

    pub(crate) fn listen(&self, listener: Weak<dyn NetworkListener>) {
        let mut listeners = self.inner.listeners.lock();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }

    /// A lane that no other consumer of this client uses.
    pub(crate) fn fetch_lane(&self) -> Lane {
        Lane::Fetch(self.inner.lanes.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends one request to one broker and waits for the answer; no retry.
    pub(crate) async fn request(&self, node: i32, request: Request) -> Result<Response, ClientError> {
        let api = request.api();
        let failed = |failure| ClientError::Request { api, node, failure };
        let connection = self.inner.connection(node, Lane::Main).ok_or_else(|| {
            failed(RequestFailure::NotConnected("the broker is not in the metadata".into()))
        })?;
        connection.request(request, self.inner.config.request_timeout).await.map_err(failed)
    }

    pub(crate) fn leader(&self, partition: PartitionRef) -> Option<i32> {
        self.inner.metadata.lock().leader(partition).map(|(node, _)| node)
    }

    pub(crate) fn topic_name(&self, topic: TopicRef) -> StrBytes {
        self.inner.metadata.lock().topic(topic).name.clone()
    }

    /// Has the metadata fetched again, soon.
    pub(crate) fn mark_stale(&self) {
        self.inner.stale.notify_one();
    }

    /// Some broker to ask: one that is connected if there is one.
    pub(crate) fn any_broker(&self, entropy: &mut burnin_runtime::Entropy) -> i32 {
        self.inner.candidates(entropy)[0]
    }
}

impl<R: Runtime> Inner<R> {
    fn close(&self) {
        self.refreshing.lock().take();
        let open = {
            let mut connections = self.connections.lock();
            connections.closed = true;
            std::mem::take(&mut connections.open)
        };
        for Open { connection, task } in open.into_values() {
            connection.close();
            // It ends by itself, after it has failed what is in flight.
            task.detach();
        }
    }

    /// Whom to ask, best first: connected brokers, other known brokers, bootstrap servers; each group in random
    /// order.
    fn candidates(&self, entropy: &mut burnin_runtime::Entropy) -> Vec<i32> {
        let known: Vec<i32> = self.metadata.lock().brokers.keys().copied().collect();
        let bootstrap = (0..self.bootstrap.len()).map(|at| -1 - at as i32);
        let connections = self.connections.lock();
        let mut ranked: Vec<(u8, u64, i32)> = known
            .into_iter()
            .map(|node| (node, 1))
            .chain(bootstrap.map(|node| (node, 2)))
            .map(|(node, rank)| {
                let ready =
                    connections.open.get(&(node, Lane::Main)).is_some_and(|open| open.connection.is_ready());
                (if ready { 0 } else { rank }, entropy.u64(), node)
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, _, node)| node).collect()
    }

    /// Asks one broker for the metadata of every interned topic.
    async fn fetch_metadata(&self, node: i32) -> Result<bool, String> {
        let connection = self.connection(node, Lane::Main).ok_or("it is not in the metadata")?;
        let request = crate::requests::metadata(&self.metadata.lock());
        let response =
            connection.request(request, self.config.request_timeout).await.map_err(|e| e.to_string())?;
        let Response::Metadata(response) = response else { unreachable!("a metadata request was sent") };
        if response.error_code != 0 {
            return Err(ErrorCode(response.error_code).to_string());
        }
        if response.brokers.is_empty() {
            return Err("it knows no brokers".to_owned());
        }
        let complete = {
            let mut metadata = self.metadata.lock();
            let complete = metadata.update(&response);
            let connections = self.connections.lock();
            for ((node, _), open) in &connections.open {
                if let Some(broker) = metadata.brokers.get(node) {
                    open.connection.set_address(&broker.host, broker.port);
                }
            }
            complete
        };
        self.replaced.notify_waiters();
        let now = self.runtime.now();
        self.each_listener(|listener| listener.metadata_changed(now));
        Ok(complete)
    }

    fn each_listener(&self, mut call: impl FnMut(&dyn NetworkListener)) {
        let listeners: Vec<_> = self.listeners.lock().iter().filter_map(Weak::upgrade).collect();
        for listener in listeners {
            call(&*listener);
        }
    }
}

impl<R: Runtime> Network for Inner<R> {
    fn connection(&self, node: i32, lane: Lane) -> Option<Arc<Connection>> {
        if let Some(open) = self.connections.lock().open.get(&(node, lane)) {
            return Some(open.connection.clone());
        }
        let (host, port) = if node < 0 {
            self.bootstrap.get(usize::try_from(-1 - node).ok()?)?.clone()
        } else {
            let metadata = self.metadata.lock();
            let broker = metadata.brokers.get(&node)?;
            (broker.host.clone(), broker.port)
        };
        let mut connections = self.connections.lock();
        if connections.closed {
            return None;
        }
        let open = connections.open.entry((node, lane)).or_insert_with(|| {
            let connection = Connection::new(node, lane, &host, port);
            let dial = Dial {
                runtime: self.runtime.clone(),
                config: self.config.clone(),
                listener: self.this.clone(),
            };
            let task = self.runtime.spawn("client/connection", net::run(dial, connection.clone()));
            Open { connection, task }
        });
        Some(open.connection.clone())
    }

    fn refresh_metadata(&self) {
        self.stale.notify_one();
    }

    fn with_metadata(&self, look: &mut dyn FnMut(&Metadata)) {
        look(&self.metadata.lock());
    }
}

impl<R: Runtime> NetworkListener for Inner<R> {
    fn connection_changed(&self, now: Instant, node: i32, lane: Lane, up: bool) {
        if !up {
            // Its partitions may have moved.
            self.stale.notify_one();
        }
        self.each_listener(|listener| listener.connection_changed(now, node, lane, up));
    }

    fn metadata_changed(&self, _now: Instant) {}
}

/// Fetches metadata when it is stale or old, for as long as the client lives.
async fn refresh_loop<R: Runtime>(client: Weak<Inner<R>>) {
    let Some((runtime, config, stale)) =
        client.upgrade().map(|inner| (inner.runtime.clone(), inner.config.clone(), inner.stale.clone()))
    else {
        return;
    };
    let mut entropy = runtime.entropy("client/metadata");
    let mut failures = 0u32;
    loop {
        if failures == 0 {
            let _ = burnin_runtime::timeout(&runtime, config.metadata_max_age, stale.notified()).await;
        } else {
            runtime.sleep(config.retry_backoff.after(failures, &mut entropy)).await;
        }
        let Some(candidates) = client.upgrade().map(|inner| inner.candidates(&mut entropy)) else { return };
        let mut fetched = Err("no broker is known".to_owned());
        for node in candidates {
            let Some(inner) = client.upgrade() else { return };
            fetched = inner.fetch_metadata(node).await;
            if let Err(reason) = &fetched {
                tracing::debug!(node, reason, "metadata could not be fetched");
            } else {
                break;
            }
        }
        failures = match fetched {
            Ok(true) => 0,
            Ok(false) | Err(_) => failures.saturating_add(1),
        };
        if failures == 0 {
            // Whoever asks again at once waits for the backoff: one refresh serves a burst of failures.
            runtime.sleep(Duration::from_millis(1).max(config.retry_backoff.initial / 2)).await;
        }
    }
}
