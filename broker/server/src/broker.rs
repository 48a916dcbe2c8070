//! A broker: its start, its end, and its tasks.

use crate::connection;
use crate::controller::{self, Controller, MetadataWriter, Queue};
use crate::error::{StartError, StopError};
use crate::fetch::SessionCache;
use crate::limits::RequestMemory;
use crate::partitions::{PartitionTable, log_config};
use crate::recovery;
use crate::shared::{BoundListener, Connections, Identity, ProducerIds, Shared};
use crate::storage;
use burnin_core::config::{BrokerConfig, Endpoint, Layers, Properties, TopicSettings};
use burnin_log::{Event, LogDir, LogDirConfig};
use burnin_runtime::{Listener, Net, Runtime, Task, timeout};
use burnin_wire::StrBytes;
use parking_lot::{Mutex, RwLock};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

/// How long connections may take to finish their requests when the broker stops.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the acceptor rests after an error, for instance when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

type Outcome = Option<Result<(), StopError>>;

/// A running broker: a cheap handle. The broker stops serving when the last handle is dropped, as in a crash; see
/// [`Broker::shutdown`] for an orderly end.
pub struct Broker<R: Runtime>(Arc<Running<R>>);

impl<R: Runtime> Clone for Broker<R> {
    fn clone(&self) -> Self {
        Broker(self.0.clone())
    }
}

struct Running<R: Runtime> {
    shared: Arc<Shared<R>>,
    tasks: Mutex<Tasks<R>>,
    outcome: Arc<watch::Sender<Outcome>>,
}

/// Dropping a handle aborts its task.
struct Tasks<R: Runtime> {
    acceptors: Vec<R::Task<()>>,
    others: Vec<R::Task<()>>,
}

impl<R: Runtime> Drop for Running<R> {
    fn drop(&mut self) {
        self.shared.connections.stop_now();
    }
}

impl<R: Runtime> Broker<R> {
    /// Starts a broker: binds, formats an empty directory, recovers the logs, replays the metadata, and serves.
    pub async fn start(runtime: R, config: BrokerConfig) -> Result<Broker<R>, StartError> {
        for name in config.without_effect() {
            warn!(property = name, "this property is accepted and has no effect here");
        }
        // First the port, so that a second broker on the same machine touches nothing.
        let (acceptors, listeners) = bind(&runtime, &config).await?;
        let (shared, writer, queue) = assemble(&runtime, config, listeners).await?;
        let outcome = Arc::new(watch::channel(None).0);
        let others = vec![
            runtime.spawn("controller", controller::run(shared.clone(), writer, queue)),
            runtime.spawn("retention", retention(shared.clone())),
            runtime.spawn("log-dir-monitor", monitor(shared.clone(), outcome.clone())),
        ];
        let acceptors = acceptors.into_iter().enumerate();
        let acceptors = acceptors
            .map(|(index, acceptor)| runtime.spawn("acceptor", accept(shared.clone(), acceptor, index)))
            .collect();
        let listening: Vec<_> =
            shared.listeners.iter().map(|listener| listener.address.to_string()).collect();
        info!(
            node_id = shared.identity.node_id,
            cluster_id = &*shared.identity.cluster_id,
            listeners = listening.join(","),
            topics = shared.image.read().topics().len(),
            "broker started"
        );
        Ok(Broker(Arc::new(Running { shared, tasks: Mutex::new(Tasks { acceptors, others }), outcome })))
    }

    /// Where the first listener listens.
    pub fn listen_addr(&self) -> SocketAddr {
        self.0.shared.listeners[0].address
    }

    /// The cluster id.
    pub fn cluster_id(&self) -> &str {
        &self.0.shared.identity.cluster_id
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.0.shared.connections.len()
    }

    /// Stops in order: no new connections and requests, answers what was asked, flushes, marks the directory as
    /// cleanly shut down. A second call waits for the first.
    pub async fn shutdown(&self) -> Result<(), StopError> {
        let acceptors = std::mem::take(&mut self.0.tasks.lock().acceptors);
        if acceptors.is_empty() {
            return self.wait().await;
        }
        drop(acceptors);
        let shared = &self.0.shared;
        info!(connections = shared.connections.len(), "broker stops");
        // The controller outlives the connections that wait for it.
        if shared.config.controlled_shutdown
            && timeout(&shared.runtime, DRAIN, shared.connections.stop()).await.is_none()
        {
            warn!(connections = shared.connections.len(), "connections did not end in time");
        }
        let closed = shared.logs.shutdown().await.map_err(|error| StopError::Shutdown(error.to_string()));
        self.0.tasks.lock().others.clear();
        self.0.outcome.send_if_modified(|outcome| {
            let first = outcome.is_none();
            outcome.get_or_insert(closed.clone());
            first
        });
        info!("broker stopped");
        closed
    }

    /// Waits until the broker has stopped. An error says that it stopped because it could not go on.
    pub async fn wait(&self) -> Result<(), StopError> {
        let mut outcome = self.0.outcome.subscribe();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }
}

type ListenerOf<R> = <<R as Runtime>::Net as Net>::Listener;

async fn bind<R: Runtime>(
    runtime: &R,
    config: &BrokerConfig,
) -> Result<(Vec<ListenerOf<R>>, Vec<BoundListener>), StartError> {
    let (mut acceptors, mut listeners) = (Vec::new(), Vec::new());
    for endpoint in &config.listeners {
        let failed = |source| StartError::Listen { address: endpoint.to_string(), source };
        let address = resolve(runtime, endpoint).await.map_err(failed)?;
        let acceptor = runtime.net().listen(address).await.map_err(failed)?;
        let address = acceptor.local_addr();
        let advertised =
            config.advertised.iter().find(|advertised| advertised.name == endpoint.name).cloned();
        let own = || Endpoint { port: address.port(), ..endpoint.clone() };
        let advertised = advertised.or_else(|| (!endpoint.is_wildcard()).then(own));
        listeners.push(BoundListener { name: endpoint.name.clone(), address, advertised });
        acceptors.push(acceptor);
    }
    Ok((acceptors, listeners))
}

async fn resolve<R: Runtime>(runtime: &R, endpoint: &Endpoint) -> std::io::Result<SocketAddr> {
    if endpoint.is_wildcard() {
        let any = if endpoint.host == "::" { [0_u16; 8].into() } else { std::net::IpAddr::from([0_u8; 4]) };
        return Ok(SocketAddr::new(any, endpoint.port));
    }
    let addresses = runtime.net().resolve(&endpoint.host, endpoint.port).await?;
    addresses.into_iter().next().ok_or_else(|| std::io::ErrorKind::AddrNotAvailable.into())
}

async fn assemble<R: Runtime>(
    runtime: &R,
    config: BrokerConfig,
    listeners: Vec<BoundListener>,
) -> Result<(Arc<Shared<R>>, MetadataWriter<R>, Queue), StartError> {
    let opened = storage::open(runtime, &config).await?;
    let none = Properties::new();
    let fixed = Layers { broker: &none, cluster: &none, fixed: &config.properties };
    let log_dir = LogDirConfig {
        log: log_config(&TopicSettings::resolve(&fixed, &none)),
        checkpoint_interval_ms: config.recovery_checkpoint_interval_ms,
        producer_id_expiration_ms: config.producer_id_expiration_ms,
        ..LogDirConfig::default()
    };
    let logs = LogDir::open(runtime.clone(), config.data_dir.clone(), log_dir).await?;
    let identity = Identity {
        cluster_id: StrBytes::from_string(opened.meta.cluster_id),
        node_id: opened.meta.node_id,
        directory_id: opened.meta.directory_id,
    };
    let (controller, queue) = Controller::new();
    let shared = Arc::new(Shared {
        sessions: Mutex::new(SessionCache::new(config.fetch_session_slots)),
        memory: RequestMemory::new(config.queued_max_request_bytes),
        entropy: Mutex::new(runtime.entropy("broker")),
        runtime: runtime.clone(),
        config,
        identity,
        listeners,
        logs,
        image: RwLock::default(),
        controller,
        partitions: RwLock::new(PartitionTable::default()),
        producer_ids: Mutex::new(ProducerIds::default()),
        connections: Connections::default(),
    });
    let writer = recovery::recover(&shared, opened.was_clean).await?;
    Ok((shared, writer, queue))
}

async fn accept<R: Runtime>(shared: Arc<Shared<R>>, mut acceptor: ListenerOf<R>, index: usize) {
    loop {
        match acceptor.accept().await {
            Ok((stream, peer)) => match shared.connections.open(peer.ip()) {
                Ok(id) => {
                    let serving = connection::serve(shared.clone(), stream, id, index);
                    shared.runtime.spawn("connection", serving).detach();
                }
                Err(reason) => debug!(%peer, reason, "connection refused"),
            },
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                shared.runtime.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn retention<R: Runtime>(shared: Arc<Shared<R>>) {
    let interval = Duration::from_millis(shared.config.retention_check_interval_ms);
    loop {
        shared.runtime.sleep(interval).await;
        if let Err(error) = shared.logs.retention_tick().await {
            // The directory is offline then, which the monitor sees.
            debug!(%error, "retention failed");
        }
    }
}

/// Waits for the log directory to fail. It is the only one, so the broker halts, as Kafka does.
async fn monitor<R: Runtime>(shared: Arc<Shared<R>>, outcome: Arc<watch::Sender<Outcome>>) {
    let notify = Arc::new(Notify::new());
    let watched = shared.logs.logs();
    // Every log is told when the directory ends; the metadata log is rarely told of anything else.
    let metadata =
        watched.iter().find(|log| &*log.topic_partition().topic == burnin_core::metadata::METADATA_TOPIC);
    let Some(metadata) = metadata.cloned() else { return };
    drop(watched);
    let _watch = metadata.watch(Event::Durable, &notify);
    loop {
        if let Some(reason) = shared.logs.offline() {
            shared.connections.stop_now();
            outcome.send_if_modified(|outcome| {
                let first = outcome.is_none();
                outcome.get_or_insert(Err(StopError::LogDirectory(reason)));
                first
            });
            return;
        }
        notify.notified().await;
    }
}
