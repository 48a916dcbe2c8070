//! The way to the active controller: a queue when it is on this node, a connection when it is on another. It follows
//! the leader of the quorum, and looks again while the answer is that it was the wrong one.

use super::refusals::is_elsewhere;
use super::{ControllerQueue, not_controller};
use crate::peer::{Peer, PeerError};
use crate::quorum::{Address, Quorum};
use burnin_core::Release;
use burnin_core::config::BrokerConfig;
use burnin_core::metadata::ApiError;
use burnin_runtime::{Instant, Runtime, timeout};
use burnin_wire::{Api, ErrorCode, Request, Response};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a new leader is waited for before the old one is asked again.
const RETRY: Duration = Duration::from_millis(50);

/// How long a leader may take to answer what it was asked before it made way. A change that it made it does not make
/// again, and the next leader refuses what is done: of no such voter, of a topic that is there.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What must not wait behind each other has connections of its own: a heartbeat behind a slow change could cost
/// the broker its session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Session,
    Isr,
    Clients,
}

impl Lane {
    fn of(api: Api) -> Lane {
        match api {
            Api::BrokerRegistration | Api::BrokerHeartbeat => Lane::Session,
            Api::AlterPartition => Lane::Isr,
            _ => Lane::Clients,
        }
    }
}

/// See the module.
pub(crate) struct ControllerChannel<R: Runtime> {
    runtime: R,
    release: Release,
    node_id: i32,
    quorum: Quorum,
    local: Option<ControllerQueue>,
    peers: Mutex<Peers<R>>,
}

/// Connections, and where they lead.
type Peers<R> = BTreeMap<(i32, Lane), (Address, Peer<R>)>;

impl<R: Runtime> ControllerChannel<R> {
    pub(crate) fn new(
        runtime: &R,
        config: &BrokerConfig,
        quorum: Quorum,
        local: Option<ControllerQueue>,
    ) -> ControllerChannel<R> {
        ControllerChannel {
            runtime: runtime.clone(),
            release: config.release,
            node_id: config.node_id,
            quorum,
            local,
            peers: Mutex::default(),
        }
    }

    /// Has a request carried out by the active controller. Errors: REQUEST_TIMED_OUT, when that did not succeed in
    /// time; it may have been carried out all the same. UNSUPPORTED_VERSION, when the controller is of a release that
    /// does not know the request. What the controller itself refuses is in the response.
    pub(crate) async fn call(&self, request: Request, within: Duration) -> Result<Response, ApiError> {
        let api = request.api();
        self.call_in(version_min(api)..=*self.release.versions(api).end(), request, within).await
    }

    /// The same for a request that came in `version`, whose answer must fit that version.
    pub(crate) async fn call_at(
        &self,
        version: i16,
        request: Request,
        within: Duration,
    ) -> Result<Response, ApiError> {
        self.call_in(version..=version, request, within).await
    }

    async fn call_in(
        &self,
        versions: RangeInclusive<i16>,
        request: Request,
        within: Duration,
    ) -> Result<Response, ApiError> {
        let until = self.runtime.now() + within;
        let asking = self.ask_until_answered(&versions, &request, until);
        match timeout(&self.runtime, within, asking).await {
            Some(answer) => answer,
            None => {
                let message = format!("The controller did not answer {} in time.", request.api());
                Err(ApiError::new(ErrorCode::REQUEST_TIMED_OUT, message))
            }
        }
    }

    /// The highest version of an API that the active controller speaks, as far as that is known.
    pub(crate) fn version_max(&self, api: Api) -> Option<i16> {
        let leader = self.quorum.leader().leader.filter(|id| *id != self.node_id)?;
        let peers = self.peers.lock();
        let peers = peers.range((leader, Lane::Session)..=(leader, Lane::Clients));
        peers.filter_map(|(_, (_, peer))| peer.spoken(api)).map(|(_, max)| max).next()
    }

    async fn ask_until_answered(
        &self,
        versions: &RangeInclusive<i16>,
        request: &Request,
        until: Instant,
    ) -> Result<Response, ApiError> {
        let mut leader = self.quorum.watch_leader();
        loop {
            let asked = leader.see().leader;
            if let Some(id) = asked {
                let mut asking = std::pin::pin!(self.ask(id, versions, request, until));
                let answer = tokio::select! {
                    biased;
                    answer = &mut asking => answer,
                    // Whoever does not lead any more may never answer.
                    () = leader.changed() => match Lane::of(request.api()) {
                        Lane::Clients => timeout(&self.runtime, LAST_WORDS, asking).await.flatten(),
                        Lane::Session | Lane::Isr => None,
                    },
                };
                if let Some(answer) = answer {
                    return answer;
                }
            }
            timeout(&self.runtime, RETRY, leader.changed()).await;
        }
    }

    /// Asks one node; `None` when it is the wrong one or does not answer.
    async fn ask(
        &self,
        id: i32,
        versions: &RangeInclusive<i16>,
        request: &Request,
        until: Instant,
    ) -> Option<Result<Response, ApiError>> {
        let answer = if id == self.node_id {
            let local = self.local.as_ref()?;
            local.ask(request.clone(), *versions.end()).await.map_err(|error| error.to_string())
        } else {
            let peer = self.peer(id, Lane::of(request.api()))?;
            let within = until.since(self.runtime.now());
            match peer.call_in(versions.clone(), request.clone(), within).await {
                Err(PeerError::Unsupported(api)) => {
                    let message =
                        format!("Controller {id} does not speak {api} in version {}.", versions.end());
                    return Some(Err(ApiError::new(ErrorCode::UNSUPPORTED_VERSION, message)));
                }
                answer => answer.map_err(|error| error.to_string()),
            }
        };
        match answer {
            Ok(response) if is_elsewhere(&response) => None,
            Ok(response) => Some(Ok(response)),
            Err(error) => {
                tracing::debug!(controller = id, api = %request.api(), error, "the controller does not answer");
                None
            }
        }
    }

    fn peer(&self, id: i32, lane: Lane) -> Option<Peer<R>> {
        let address = self.quorum.address(id)?;
        let mut peers = self.peers.lock();
        match peers.get(&(id, lane)) {
            Some((known, peer)) if *known == address => Some(peer.clone()),
            _ => {
                let client_id = format!("broker-{}", self.node_id);
                let peer = Peer::new(self.runtime.clone(), self.release, address.clone(), client_id);
                peers.insert((id, lane), (address, peer.clone()));
                Some(peer)
            }
        }
    }

    /// For requests that came in over a controller listener: this node carries them out or nobody does.
    pub(crate) async fn call_local(&self, version: i16, request: Request) -> Result<Response, ApiError> {
        match &self.local {
            Some(local) => local.ask(request, version).await,
            None => Err(not_controller()),
        }
    }
}

/// The first version that carries what our brokers say.
fn version_min(api: Api) -> i16 {
    match api {
        Api::BrokerRegistration => 4,
        Api::AlterPartition => 3,
        _ => 0,
    }
}
