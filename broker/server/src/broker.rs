//! A broker: its start, its end, and its tasks.

use crate::connection;
use crate::controller::{self, Commands, ControllerChannel, ControllerQueue};
use crate::error::{StartError, StopError};
use crate::fetch::SessionCache;
use crate::lifecycle::Lifecycle;
use crate::limits::RequestMemory;
use crate::partitions::{PartitionTable, log_config};
use crate::quorum::{self, Driver, Snapshots, Start};
use crate::replica::{self, Replication};
use crate::shared::{BoundListener, Connections, Identity, ProducerIds, Shared};
use crate::storage;
use crate::watched::Watched;
use crate::{lifecycle, loader};
use burnin_core::config::{BrokerConfig, Endpoint, Layers, Properties, TopicSettings};
use burnin_core::metadata::Image;
use burnin_core::quorum::{ReplicaKey, VoterSet};
use burnin_log::{Event, Log, LogDir, LogDirConfig};
use burnin_runtime::{Listener, Net, Runtime, Task, timeout};
use burnin_wire::StrBytes;
use burnin_wire::control_records::VotersRecord;
use parking_lot::{Mutex, RwLock};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use std::time::Duration;
use tokio::sync::{Notify, watch}; // tidy: allow(tasks): one task waits for the outcome
use tracing::{debug, info, warn};

/// How long connections may take to finish their requests when the broker stops.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a leader of the quorum that stops stays, so that its successor hears of it.
const RESIGN_PAUSE: Duration = Duration::from_millis(50);
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
        self.shared.replication.stop();
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
        let Assembled { shared, driver, commands, log, snapshot_voters, previous_broker_epoch } =
            assemble(&runtime, config, listeners).await?;
        let outcome = Arc::new(watch::channel(None).0);
        let next = shared.image.read().applied_offset();
        let loading = loader::run(shared.clone(), log, next, snapshot_voters);
        let mut others = vec![
            runtime.spawn("quorum", watched(shared.clone(), driver.run())),
            runtime.spawn("metadata-loader", watched(shared.clone(), loading)),
            runtime.spawn("retention", retention(shared.clone())),
            runtime.spawn("log-dir-monitor", monitor(shared.clone(), outcome.clone())),
            runtime.spawn("failure-monitor", failure(shared.clone(), outcome.clone())),
        ];
        if let Some(commands) = commands {
            others.push(runtime.spawn("controller", controller::run(shared.clone(), commands)));
        }
        if shared.listeners.iter().any(|listener| listener.is_controllers) {
            others.push(runtime.spawn("controller-registration", controller::register(shared.clone())));
        }
        if shared.config.roles.broker {
            others.push(runtime.spawn("lifecycle", lifecycle::run(shared.clone(), previous_broker_epoch)));
            others.extend(replica::spawn(&shared));
        }
        // Alone it is of use at once; with others, when enough of them are there.
        if shared.is_only_voter() && shared.config.roles.are_combined() {
            unfenced(&shared).await?;
            shared.lifecycle.serve();
        } else if shared.config.roles.broker {
            others.push(runtime.spawn("serves", serve_when_unfenced(shared.clone())));
        }
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
        let shared = &self.0.shared;
        info!(connections = shared.connections.len(), "broker stops");
        if shared.config.controlled_shutdown && shared.config.roles.broker && !shared.leave_cluster().await {
            debug!("nobody takes over");
        }
        drop(acceptors);
        shared.replication.stop();
        // The controller outlives the connections that wait for it.
        if shared.config.controlled_shutdown
            && timeout(&shared.runtime, DRAIN, shared.connections.stop()).await.is_none()
        {
            warn!(connections = shared.connections.len(), "connections did not end in time");
        }
        if !shared.is_only_voter() && shared.quorum.leader().leader == Some(shared.identity.node_id) {
            shared.quorum.resign().await;
            // What tells the others is on its way: without it they would wait for a silent leader.
            shared.runtime.sleep(RESIGN_PAUSE).await;
        }
        if let Err(error) = shared.checkpoint_high_watermarks().await {
            warn!(%error, "high watermarks are not noted");
        }
        // Nobody writes any more: the quorum knows nothing of the stop, and would go on electing.
        self.0.tasks.lock().others.clear();
        let closed = shared
            .logs
            .shutdown_with_epoch(shared.broker_epoch())
            .await
            .map_err(|error| StopError::Shutdown(error.to_string()));
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

/// The broker's listeners come first.
async fn bind<R: Runtime>(
    runtime: &R,
    config: &BrokerConfig,
) -> Result<(Vec<ListenerOf<R>>, Vec<BoundListener>), StartError> {
    let (mut acceptors, mut listeners) = (Vec::new(), Vec::new());
    let controllers = config.controller_listeners.iter().map(|endpoint| (endpoint, true));
    for (endpoint, is_controllers) in
        config.listeners.iter().map(|endpoint| (endpoint, false)).chain(controllers)
    {
        let failed = |source| StartError::Listen { address: endpoint.to_string(), source };
        let address = resolve(runtime, endpoint).await.map_err(failed)?;
        let acceptor = runtime.net().listen(address).await.map_err(failed)?;
        let address = acceptor.local_addr();
        let advertised =
            config.advertised.iter().find(|advertised| advertised.name == endpoint.name).cloned();
        let own = || Endpoint { port: address.port(), ..endpoint.clone() };
        let advertised = advertised.or_else(|| (!endpoint.is_wildcard()).then(own));
        listeners.push(BoundListener { name: endpoint.name.clone(), address, advertised, is_controllers });
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

/// A node whose tasks are not started yet.
struct Assembled<R: Runtime> {
    shared: Arc<Shared<R>>,
    driver: Driver<R>,
    /// For the controller, if there is one.
    commands: Option<Commands>,
    log: Log<R>,
    snapshot_voters: Option<VotersRecord>,
    previous_broker_epoch: i64,
}

async fn assemble<R: Runtime>(
    runtime: &R,
    config: BrokerConfig,
    listeners: Vec<BoundListener>,
) -> Result<Assembled<R>, StartError> {
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
    let log = loader::open_log(&logs, &config).await?;
    let identity = Identity {
        cluster_id: StrBytes::from_string(opened.meta.cluster_id),
        node_id: opened.meta.node_id,
        directory_id: opened.meta.directory_id,
    };
    let (queue, commands) = match config.roles.controller.then(ControllerQueue::new) {
        Some((queue, commands)) => (Some(queue), Some(commands)),
        None => (None, None),
    };
    let me = ReplicaKey { id: identity.node_id, directory: identity.directory_id };
    let broken = |reason| StartError::Metadata { path: config.data_dir.clone(), reason };
    let snapshots = Snapshots::new(
        runtime.clone(),
        config.data_dir.join(log.topic_partition().to_string()),
        config.release.features(),
    );
    let opened_log = loader::open_snapshot(runtime, &snapshots, &log).await.map_err(broken)?;
    let loader::Opened { log: metadata, image, voters: snapshot_voters } = opened_log;
    let start = Start {
        config: &config,
        cluster_id: &identity.cluster_id,
        own: quorum::voters::own(me, &listeners),
        log: metadata,
        snapshots: snapshots.clone(),
        snapshot_voters: snapshot_voters.as_ref().map(VoterSet::from_record),
        controller: queue.clone(),
    };
    let (driver, quorum) = Driver::start(runtime, start).await.map_err(broken)?;
    let mut entropy = runtime.entropy("broker");
    let lifecycle = Lifecycle::new(burnin_core::fresh_id(|| {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        bytes
    }));
    let controller_channel = ControllerChannel::new(runtime, &config, quorum.clone(), queue);
    let shared = Arc::new(Shared {
        sessions: Mutex::new(SessionCache::new(config.fetch_session_slots)),
        memory: RequestMemory::new(config.queued_max_request_bytes),
        entropy: Mutex::new(entropy),
        runtime: runtime.clone(),
        replication: Replication::new(identity.node_id, &config),
        config,
        identity,
        listeners,
        logs,
        image: RwLock::new(image),
        applied: Watched::new(0),
        quorum,
        snapshots,
        controller_channel,
        lifecycle,
        failed: Watched::new(None),
        partitions: RwLock::new(PartitionTable::default()),
        producer_ids: Mutex::new(ProducerIds::default()),
        connections: Connections::default(),
    });
    // Until there are metadata, the file alone says how many connections there may be.
    shared.update_connection_limits(&Image::default());
    let previous_broker_epoch = opened.previous_broker_epoch;
    Ok(Assembled { shared, driver, commands, log, snapshot_voters, previous_broker_epoch })
}

/// Waits until this broker is registered and may lead, and this node follows that.
async fn unfenced<R: Runtime>(shared: &Arc<Shared<R>>) -> Result<(), StartError> {
    let (mut applied, failed) = (shared.applied.watch(), &shared.failed);
    let mut failing = failed.watch();
    failing.see();
    loop {
        let is_unfenced = {
            let image = shared.image.read();
            let broker = image.brokers().get(&shared.identity.node_id);
            // An earlier start may still be unfenced when the log begins to be applied.
            let is_current = image.applied_offset() <= applied.see();
            is_current && broker.is_some_and(|broker| !broker.fenced && broker.epoch == shared.broker_epoch())
        };
        if is_unfenced {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = failing.changed() => {
                return Err(match failed.get() {
                    Some(StopError::Unregistered(reason)) => StartError::Unregistered(reason),
                    error => {
                        let reason = error.map(|error| error.to_string()).unwrap_or_default();
                        StartError::Metadata { path: shared.config.data_dir.clone(), reason }
                    }
                });
            }
            () = applied.changed() => {}
        }
    }
}

async fn serve_when_unfenced<R: Runtime>(shared: Arc<Shared<R>>) {
    // Else the broker ends.
    if unfenced(&shared).await.is_ok() {
        shared.lifecycle.serve();
    }
}

/// Runs what the node cannot do without.
async fn watched<R: Runtime>(shared: Arc<Shared<R>>, task: impl Future<Output = Result<(), String>>) {
    if let Err(reason) = task.await {
        tracing::error!(reason, "the node cannot go on");
        shared.failed.set(Some(StopError::Metadata(reason)));
    }
}

/// Ends the node when it cannot go on.
async fn failure<R: Runtime>(shared: Arc<Shared<R>>, outcome: Arc<watch::Sender<Outcome>>) {
    let error = shared.failed.watch().wait_for(Option::is_some).await;
    shared.connections.stop_now();
    let error = error.expect("it was waited for");
    outcome.send_if_modified(|outcome| {
        let first = outcome.is_none();
        outcome.get_or_insert(Err(error));
        first
    });
}

async fn accept<R: Runtime>(shared: Arc<Shared<R>>, mut acceptor: ListenerOf<R>, index: usize) {
    loop {
        match acceptor.accept().await {
            Ok((_, peer)) if !shared.listeners[index].is_controllers && !shared.lifecycle.serves() => {
                debug!(%peer, "connection refused: this broker does not know its cluster yet");
            }
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
        // What is served from here has its topic's settings, which no log has before the metadata are followed.
        let topics: Vec<_> = shared.partitions.read().topics().cloned().collect();
        let hosted = topics.iter().flat_map(|topic| topic.partitions());
        let hosted = hosted.map(|(_, partition)| (partition.log.clone(), partition.high_watermark()));
        if let Err(error) = shared.logs.retention_tick(hosted.collect()).await {
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
