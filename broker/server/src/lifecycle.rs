//! The life of a broker in its cluster (`BrokerLifecycleManager`): it registers each of its starts, says by heartbeats
//! that it is alive and how far it has followed the metadata, and asks to leave before it stops.
//!
//! A broker begins fenced: it leads nothing and joins no ISR until the controller has seen that it has followed the
//! metadata up to its own registration.

use crate::error::StopError;
use crate::shared::Shared;
use burnin_runtime::{Instant, Runtime, timeout};
use burnin_wire::kafka::messages as kafka;
use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::{ErrorCode, Response, StrBytes};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch}; // tidy: allow(tasks): one task waits for the standing
use uuid::Uuid;

/// Between two tries of what failed, and between heartbeats of a broker that waits to be unfenced.
const RETRY: Duration = Duration::from_millis(100);
/// The first heartbeat after the one that asked to stop comes soon: the answer is often there by then.
const RETRY_STOP: Duration = Duration::from_millis(50);
/// How long the controller may take to find other leaders before the broker stops without them.
const STOP_MAX: Duration = Duration::from_secs(30);

/// What the controller said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Fenced,
    Unfenced,
    /// Everything was handed over.
    MayStop,
}

/// Who this start of the broker is, and how it stands with the controller.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// Of this start.
    pub(crate) incarnation_id: Uuid,
    broker_epoch: AtomicI64,
    wants_to_stop: AtomicBool,
    hurry: Notify,
    standing: watch::Sender<Standing>,
    serves: AtomicBool,
}

impl Lifecycle {
    /// A start that nobody knows of yet.
    pub(crate) fn new(incarnation_id: Uuid) -> Lifecycle {
        Lifecycle {
            incarnation_id,
            broker_epoch: AtomicI64::new(-1),
            wants_to_stop: AtomicBool::new(false),
            hurry: Notify::new(),
            standing: watch::channel(Standing::Fenced).0,
            serves: AtomicBool::new(false),
        }
    }

    /// Whether clients are served: as in Kafka, from the moment on that this start was unfenced first. Before, this broker
    /// has not applied the metadata that were there already, and would deny topics that exist.
    pub(crate) fn serves(&self) -> bool {
        self.serves.load(Ordering::Acquire)
    }

    /// This start was unfenced.
    pub(crate) fn serve(&self) {
        self.serves.store(true, Ordering::Release);
    }
}

impl<R: Runtime> Shared<R> {
    /// The epoch of the registration; -1 before.
    pub(crate) fn broker_epoch(&self) -> i64 {
        self.lifecycle.broker_epoch.load(Ordering::Acquire)
    }

    /// Has the controller move leaders and ISRs away from this broker before it stops. Whether that succeeded.
    pub(crate) async fn leave_cluster(&self) -> bool {
        let is_alone = {
            let image = self.image.read();
            let me = self.identity.node_id;
            !image.brokers().iter().any(|(id, broker)| *id != me && !broker.fenced)
        };
        let life = &self.lifecycle;
        if is_alone || *life.standing.borrow() != Standing::Unfenced {
            return false;
        }
        life.wants_to_stop.store(true, Ordering::Release);
        life.hurry.notify_one();
        let mut standing = life.standing.subscribe();
        let left = standing.wait_for(|standing| *standing == Standing::MayStop);
        timeout(&self.runtime, STOP_MAX, left).await.is_some()
    }
}

/// Registers and sends heartbeats, for as long as the broker runs. `previous_broker_epoch` is that of the last life if
/// it ended in order, else -1 (KIP-966).
pub(crate) async fn run<R: Runtime>(shared: Arc<Shared<R>>, previous_broker_epoch: i64) {
    let mut previous = previous_broker_epoch;
    // Only the first registration of a start has to succeed in time.
    let mut until = shared.runtime.now() + shared.config.quorum.registration_timeout;
    loop {
        previous = match register(&shared, previous, until).await {
            Ok(broker_epoch) => broker_epoch,
            Err(last) => {
                let waited = shared.config.quorum.registration_timeout.as_millis();
                let reason = format!(
                    "the controllers did not register it within {waited} ms (property \
                     `initial.broker.registration.timeout.ms`); the last try: {last}"
                );
                tracing::error!(reason, "the broker cannot go on");
                shared.failed.set(Some(StopError::Unregistered(reason)));
                return;
            }
        };
        until = Instant::FAR_FUTURE;
        shared.lifecycle.broker_epoch.store(previous, Ordering::Release);
        tracing::info!(broker_epoch = previous, "the broker is registered");
        let mut beat = Beat { failures: 0, asked_to_stop: false };
        while beat.send(&shared, previous).await {}
    }
}

/// Tries until it is registered, and gives the broker epoch; or until the time is over, and says what went wrong last.
async fn register<R: Runtime>(shared: &Arc<Shared<R>>, previous: i64, until: Instant) -> Result<i64, String> {
    let mut has_warned = false;
    loop {
        let request = registration(shared, previous);
        let left = until.since(shared.runtime.now()).max(RETRY);
        let within = shared.config.quorum.session_timeout.min(left);
        let error = match shared.controller_channel.call(request.into(), within).await {
            Ok(Response::BrokerRegistration(response)) if response.error_code == 0 => {
                return Ok(response.broker_epoch);
            }
            Ok(Response::BrokerRegistration(response)) => refusal(shared, ErrorCode(response.error_code)),
            Ok(other) => format!("an answer to {}", other.api()),
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut has_warned, true) {
            tracing::warn!(error, "the broker is not registered yet");
        }
        if shared.runtime.now() >= until {
            return Err(error);
        }
        shared.runtime.sleep(RETRY).await;
    }
}

/// What a refused registration means; the response has a code alone.
fn refusal<R: Runtime>(shared: &Shared<R>, code: ErrorCode) -> String {
    let (node, cluster) = (shared.identity.node_id, &*shared.identity.cluster_id);
    match code {
        ErrorCode::DUPLICATE_BROKER_REGISTRATION => format!(
            "{code}: another broker with `node.id` {node} is alive, or was until a moment ago (if that is not this one \
             before a restart, give one of them another `node.id` and directory)"
        ),
        ErrorCode::INCONSISTENT_CLUSTER_ID => format!(
            "{code}: the data directory belongs to cluster `{cluster}`, and the controllers to another (see \
             `controller.quorum.voters`)"
        ),
        ErrorCode::UNSUPPORTED_VERSION => {
            let release = shared.config.release;
            format!(
                "{code}: the cluster uses features that this node, of release {release}, does not support"
            )
        }
        code => code.to_string(),
    }
}

fn registration<R: Runtime>(
    shared: &Shared<R>,
    previous_broker_epoch: i64,
) -> kafka::BrokerRegistrationRequest {
    use kafka::broker_registration_request::{Feature, Listener};
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let listeners = shared.listeners.iter().filter(|listener| !listener.is_controllers).map(|listener| {
        let (host, port) = listener.reached_at();
        Listener::default().with_name(text(&listener.name)).with_host(text(&host)).with_port(port)
    });
    let features = shared.config.release.features().into_iter().map(|(name, (min, max))| {
        Feature::default()
            .with_name(text(&name))
            .with_min_supported_version(min)
            .with_max_supported_version(max)
    });
    kafka::BrokerRegistrationRequest::default()
        .with_broker_id(BrokerId(shared.identity.node_id))
        .with_cluster_id(shared.identity.cluster_id.clone())
        .with_incarnation_id(shared.lifecycle.incarnation_id)
        .with_listeners(listeners.collect())
        .with_features(features.collect())
        .with_rack(shared.config.rack.as_deref().map(text))
        .with_log_dirs(vec![shared.identity.directory_id])
        .with_previous_broker_epoch(previous_broker_epoch)
}

/// Heartbeats under one registration.
struct Beat {
    failures: u32,
    asked_to_stop: bool,
}

impl Beat {
    /// Sends one and waits until the next is due. Whether the registration still holds.
    async fn send<R: Runtime>(&mut self, shared: &Arc<Shared<R>>, epoch: i64) -> bool {
        let life = &shared.lifecycle;
        let stops = life.wants_to_stop.load(Ordering::Acquire);
        let request = kafka::BrokerHeartbeatRequest::default()
            .with_broker_id(BrokerId(shared.identity.node_id))
            .with_broker_epoch(epoch)
            .with_current_metadata_offset(shared.metadata_offset())
            .with_want_shut_down(stops);
        let interval = shared.config.quorum.heartbeat_interval;
        let answer = shared.controller_channel.call(request.into(), interval).await;
        let wait = match answer {
            Ok(Response::BrokerHeartbeat(response)) => match ErrorCode(response.error_code) {
                ErrorCode::NONE => self.answered(life, &response, stops, interval),
                ErrorCode::STALE_BROKER_EPOCH => {
                    tracing::info!(broker_epoch = epoch, "the registration does not hold any more");
                    life.standing.send_replace(Standing::Fenced);
                    shared.runtime.sleep(RETRY).await;
                    return false;
                }
                code => {
                    tracing::warn!(%code, "a heartbeat was refused");
                    self.failed(interval)
                }
            },
            _ => self.failed(interval),
        };
        // Who wants to stop does not wait.
        let _ = timeout(&shared.runtime, wait, life.hurry.notified()).await;
        true
    }

    fn answered(
        &mut self,
        life: &Lifecycle,
        response: &kafka::BrokerHeartbeatResponse,
        stops: bool,
        interval: Duration,
    ) -> Duration {
        self.failures = 0;
        let standing = match response.is_fenced {
            _ if stops && response.should_shut_down => Standing::MayStop,
            true => Standing::Fenced,
            false => Standing::Unfenced,
        };
        life.standing.send_if_modified(|known| {
            let is_news = *known != standing && *known != Standing::MayStop;
            if is_news {
                *known = standing;
            }
            is_news
        });
        let first_stop = stops && !std::mem::replace(&mut self.asked_to_stop, stops);
        match standing {
            Standing::Fenced => RETRY.min(interval),
            _ if first_stop => RETRY_STOP.min(interval),
            _ if stops => RETRY.min(interval),
            _ => interval,
        }
    }

    fn failed(&mut self, interval: Duration) -> Duration {
        let pause = RETRY.saturating_mul(2_u32.saturating_pow(self.failures.min(10)));
        self.failures = self.failures.saturating_add(1);
        pause.min(interval)
    }
}
