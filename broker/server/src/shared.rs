//! What the tasks of a broker share.

use crate::controller::ControllerChannel;
use crate::error::StopError;
use crate::fetch::SessionCache;
use crate::lifecycle::Lifecycle;
use crate::limits::{ConnectionCounts, ConnectionLimits, RequestMemory};
use crate::partitions::PartitionTable;
use crate::quorum::{Quorum, Snapshots};
use crate::replica::Replication;
use crate::watched::Watched;
use burnin_core::config::{BrokerConfig, Endpoint, Layers, Properties, TopicSettings};
use burnin_core::metadata::{Image, ResourceType};
use burnin_log::LogDir;
use burnin_runtime::{Entropy, Runtime};
use burnin_wire::StrBytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use tokio::sync::Notify;
use uuid::Uuid;

/// Who this broker is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) cluster_id: StrBytes,
    pub(crate) node_id: i32,
    pub(crate) directory_id: Uuid,
}

/// The connection that a request came in on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Which of the broker's listeners.
    pub(crate) listener: usize,
}

/// A bound listener.
#[derive(Clone, Debug)]
pub(crate) struct BoundListener {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// Where clients are told to connect; `None`: at the address that they connected to.
    pub(crate) advertised: Option<Endpoint>,
    /// Whether it serves the controller's APIs instead of the broker's.
    pub(crate) is_controllers: bool,
}

impl BoundListener {
    /// Where other nodes are told to connect.
    pub(crate) fn reached_at(&self) -> (String, u16) {
        match &self.advertised {
            Some(endpoint) => (endpoint.host.clone(), endpoint.port),
            None => (self.address.ip().to_string(), self.address.port()),
        }
    }
}

pub(crate) struct Shared<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) config: BrokerConfig,
    pub(crate) identity: Identity,
    pub(crate) listeners: Vec<BoundListener>,
    pub(crate) logs: LogDir<R>,
    pub(crate) image: RwLock<Image>,
    /// The offset before which the metadata log is applied, and followed by this node.
    pub(crate) applied: Watched<i64>,
    pub(crate) quorum: Quorum,
    pub(crate) snapshots: Snapshots<R>,
    pub(crate) controller_channel: ControllerChannel<R>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) replication: Replication<R>,
    /// Why this node cannot go on, once it cannot.
    pub(crate) failed: Watched<Option<StopError>>,
    pub(crate) partitions: RwLock<PartitionTable<R>>,
    pub(crate) sessions: Mutex<SessionCache>,
    /// Ids of topics and sessions are drawn from it.
    pub(crate) entropy: Mutex<Entropy>,
    pub(crate) producer_ids: Mutex<ProducerIds>,
    pub(crate) connections: Connections,
    pub(crate) memory: RequestMemory,
}

/// The block of producer ids that this broker gives out.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    pub(crate) next: i64,
    pub(crate) end: i64,
}

impl<R: Runtime> Shared<R> {
    /// The properties that were set on this broker and on all brokers while they ran.
    pub(crate) fn dynamic_properties<'a>(&self, image: &'a Image) -> (&'a Properties, &'a Properties) {
        let broker = image.config(ResourceType::Broker, &self.identity.node_id.to_string());
        (broker, image.config(ResourceType::Broker, ""))
    }

    /// Whether nobody else votes on the metadata.
    pub(crate) fn is_only_voter(&self) -> bool {
        let voters = self.quorum.voters().voters;
        voters.len() == 1 && voters.contains_id(self.identity.node_id)
    }

    /// The layers of this broker's configuration.
    pub(crate) fn layers<'a>(&'a self, image: &'a Image) -> Layers<'a> {
        let (broker, cluster) = self.dynamic_properties(image);
        Layers { broker, cluster, fixed: &self.config.properties }
    }

    /// The offset of the last metadata record that this node has applied and follows; -1 before the first.
    pub(crate) fn metadata_offset(&self) -> i64 {
        self.applied.get() - 1
    }

    /// The settings of a topic.
    pub(crate) fn topic_settings(&self, image: &Image, topic: &str) -> TopicSettings {
        TopicSettings::resolve(&self.layers(image), image.config(ResourceType::Topic, topic))
    }

    /// Where a client of this connection is told to reach this broker.
    pub(crate) fn advertised(&self, client: &Client) -> (StrBytes, i32) {
        match &self.listeners[client.listener].advertised {
            Some(endpoint) => (StrBytes::from_string(endpoint.host.clone()), endpoint.port.into()),
            None => (StrBytes::from_string(client.local.ip().to_string()), client.local.port().into()),
        }
    }

    /// Takes over the rates of replication throttles that are set now.
    pub(crate) fn update_throttles(&self, image: &Image) {
        let layers = self.layers(image);
        let rate =
            |name: &str| layers.value(name).and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
        self.replication.sending.set_rate(rate("leader.replication.throttled.rate"));
        self.replication.fetching.set_rate(rate("follower.replication.throttled.rate"));
    }

    /// Takes over the limits on connections that are set now.
    pub(crate) fn update_connection_limits(&self, image: &Image) {
        let layers = self.layers(image);
        let number =
            |name: &str| layers.value(name).and_then(|text| text.trim().parse().ok()).unwrap_or(usize::MAX);
        let overrides = layers.value("max.connections.per.ip.overrides").unwrap_or_default();
        let limits = ConnectionLimits {
            all: number("max.connections"),
            per_address: number("max.connections.per.ip"),
            overrides: ConnectionLimits::parse_overrides(&overrides),
        };
        self.connections.state.lock().limits = Some(limits);
    }
}

/// The open connections, and whether they should end.
#[derive(Default)]
pub(crate) struct Connections {
    stopping: AtomicBool,
    state: Mutex<ConnectionState>,
    none_left: Notify,
}

#[derive(Default)]
struct ConnectionState {
    counts: ConnectionCounts,
    limits: Option<ConnectionLimits>,
    next_id: u64,
    wakers: BTreeMap<u64, Option<Waker>>,
}

impl Connections {
    /// Admits a connection and gives its id, or says why not.
    pub(crate) fn open(&self, address: IpAddr) -> Result<u64, String> {
        let mut state = self.state.lock();
        if self.stopping.load(Ordering::Acquire) {
            return Err("the broker stops".to_owned());
        }
        let state = &mut *state;
        if let Some(limits) = &state.limits {
            state.counts.open(address, limits)?;
        }
        state.next_id += 1;
        state.wakers.insert(state.next_id, None);
        Ok(state.next_id)
    }

    /// The connection has ended.
    pub(crate) fn close(&self, id: u64, address: IpAddr) {
        let mut state = self.state.lock();
        state.wakers.remove(&id);
        state.counts.close(address);
        if state.wakers.is_empty() {
            self.none_left.notify_waiters();
        }
    }

    /// Whether connection `id` should end. From then on it is woken when this changes: it asks once, and again
    /// when its waker has changed.
    pub(crate) fn is_stopping(&self, id: u64, known: &mut Option<Waker>, cx: &mut Context<'_>) -> bool {
        if !known.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *known = Some(cx.waker().clone());
            self.state.lock().wakers.insert(id, known.clone());
        }
        self.stopping.load(Ordering::Acquire)
    }

    /// Tells every connection to end, and waits until the last one has.
    pub(crate) async fn stop(&self) {
        self.stop_now();
        loop {
            let none_left = self.none_left.notified();
            if self.state.lock().wakers.is_empty() {
                return;
            }
            none_left.await;
        }
    }

    /// Tells every connection to end.
    pub(crate) fn stop_now(&self) {
        let wakers: Vec<_> = {
            let state = self.state.lock();
            self.stopping.store(true, Ordering::Release);
            state.wakers.values().flatten().cloned().collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().wakers.len()
    }
}
