//! What a replica of the quorum sends to others: one task per request, which repeats it after an error until it is
//! answered, superseded by a later one, or too old.

use super::{Address, Addresses, Event, Snapshots, VotersView, messages};
use crate::peer::{Peer, PeerError};
use burnin_core::Release;
use burnin_core::config::BrokerConfig;
use burnin_core::quorum::{FetchRequest, Message, SnapshotId, VoterSet};
use burnin_runtime::{Runtime, Task};
use burnin_wire::control_records::Voter;
use burnin_wire::{Response, StrBytes};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Fetches wait at the leader; nothing else may wait behind them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Fetch,
    Rest,
}

/// A connection, and which of its requests is the newest.
struct Link<R: Runtime> {
    address: Address,
    peer: Peer<R>,
    newest: Arc<AtomicU64>,
}

/// See the module.
pub(super) struct Links<R: Runtime> {
    runtime: R,
    release: Release,
    context: messages::Context,
    addresses: Addresses,
    links: BTreeMap<(i32, Lane), Link<R>>,
    /// Whom to ask next for the leader.
    next_asked: usize,
    /// The snapshot that is being fetched.
    fetching: Arc<Mutex<Option<SnapshotId>>>,
    events: mpsc::UnboundedSender<Event>,
    request_timeout: Duration,
    retry_backoff: Duration,
}

impl<R: Runtime> Links<R> {
    pub(super) fn new(
        runtime: &R,
        config: &BrokerConfig,
        cluster_id: StrBytes,
        own: Voter,
        addresses: Addresses,
        events: mpsc::UnboundedSender<Event>,
    ) -> Links<R> {
        Links {
            runtime: runtime.clone(),
            release: config.release,
            context: messages::Context::new(cluster_id, own),
            addresses,
            links: BTreeMap::new(),
            next_asked: 0,
            fetching: Arc::default(),
            events,
            request_timeout: config.quorum.request_timeout,
            retry_backoff: config.quorum.retry_backoff,
        }
    }

    /// Others vote now, or elsewhere. Connections to who has left end with it.
    pub(super) fn set_voters(&mut self, view: &VotersView) {
        self.context.configured_voters = view.told();
        let addresses = &self.addresses;
        self.links.retain(|(id, _), link| addresses.of(*id).is_none_or(|address| address == link.address));
    }

    /// Asks one bootstrap server or voter after the other who leads.
    pub(super) fn find_leader(&mut self, request: FetchRequest) {
        let turn = self.next_asked;
        if let Some((id, address)) = self.addresses.anybody(turn) {
            self.next_asked += 1;
            // Whose id nobody knows has one below zero, which no node has.
            let to = id.unwrap_or_else(|| -1 - i32::from(address.1));
            self.send_to(to, address, Message::FetchRequest(request));
        }
    }

    /// Fetches a snapshot, unless that is under way; when it is in place, that comes as an event.
    pub(super) fn fetch_snapshot(&mut self, from: i32, epoch: i32, id: SnapshotId, store: Snapshots<R>) {
        let Some(address) = self.addresses.of(from) else { return };
        if self.fetching.lock().replace(id) == Some(id) {
            return;
        }
        let client_id = format!("raft-client-{}", self.context.me.id);
        let peer = Peer::new(self.runtime.clone(), self.release, address, client_id);
        let (context, within) = (self.context.clone(), self.request_timeout);
        let (events, fetching) = (self.events.clone(), self.fetching.clone());
        let task = async move {
            match messages::fetch_snapshot(&peer, &context, epoch, id, &store, within).await {
                Ok(voters) => {
                    let voters = voters.as_ref().map(VoterSet::from_record);
                    drop(events.send(Event::SnapshotArrived { leader: from, epoch, id, voters }))
                }
                Err(why) => tracing::warn!(from, ?id, why, "failed to fetch a snapshot"),
            }
            fetching.lock().take_if(|fetched| *fetched == id);
        };
        self.runtime.spawn("quorum-snapshot", task).detach();
    }

    /// Sends a request; its answer comes as an event.
    pub(super) fn send(&mut self, to: i32, message: Message) {
        match self.addresses.of(to) {
            Some(address) => self.send_to(to, address, message),
            None => tracing::warn!(to, "nobody knows the address of this replica of the quorum"),
        }
    }

    fn send_to(&mut self, to: i32, address: Address, message: Message) {
        let lane = if matches!(message, Message::FetchRequest(_)) { Lane::Fetch } else { Lane::Rest };
        if self.links.get(&(to, lane)).is_some_and(|link| link.address != address) {
            self.links.remove(&(to, lane));
        }
        let link = self.links.entry((to, lane)).or_insert_with(|| Link {
            peer: Peer::new(
                self.runtime.clone(),
                self.release,
                address.clone(),
                format!("raft-client-{}", self.context.me.id),
            ),
            address,
            newest: Arc::default(),
        });
        let number = link.newest.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(call) = messages::Call::new(&self.context, to, &message) else { return };
        let sending = Sending {
            runtime: self.runtime.clone(),
            cluster_id: self.context.cluster_id.clone(),
            to,
            call,
            peer: link.peer.clone(),
            newest: link.newest.clone(),
            number,
            events: self.events.clone(),
            request_timeout: self.request_timeout,
            retry_backoff: self.retry_backoff,
        };
        self.runtime.spawn("quorum-send", sending.run()).detach();
    }
}

struct Sending<R: Runtime> {
    runtime: R,
    /// Of this node.
    cluster_id: StrBytes,
    to: i32,
    call: messages::Call,
    peer: Peer<R>,
    newest: Arc<AtomicU64>,
    number: u64,
    events: mpsc::UnboundedSender<Event>,
    request_timeout: Duration,
    retry_backoff: Duration,
}

impl<R: Runtime> Sending<R> {
    async fn run(self) {
        let give_up = self.runtime.now() + self.request_timeout;
        loop {
            match self.once().await {
                Ok(response) => return self.answered(response),
                Err(PeerError::Unsupported(api)) => {
                    match self.call.unsupported() {
                        Some(message) => drop(self.events.send(Event::Answered {
                            from: self.to,
                            message,
                            leader_at: None,
                        })),
                        None => {
                            tracing::warn!(to = self.to, %api, "a replica of the quorum is too old or too new");
                        }
                    }
                    return;
                }
                Err(error) => tracing::debug!(to = self.to, %error, "a request of the quorum failed"),
            }
            let is_newest = self.newest.load(Ordering::Relaxed) == self.number;
            if !is_newest || self.events.is_closed() || self.runtime.now() >= give_up {
                return;
            }
            self.runtime.sleep(self.retry_backoff).await;
        }
    }

    async fn once(&self) -> Result<Response, PeerError> {
        let (versions, request) = (self.call.versions.clone(), self.call.request.clone());
        self.peer.call_in(versions, request, self.request_timeout).await
    }

    fn answered(self, response: Response) {
        match self.call.answer(response) {
            // The driver may have stopped.
            Ok((message, leader_at)) => {
                drop(self.events.send(Event::Answered { from: self.to, message, leader_at }));
            }
            Err(messages::Refused::OtherVoters) => tracing::error!(
                "node {} refuses this node, since it counts other voters; controller.quorum.voters are {} here",
                self.to,
                self.call.configured_voters()
            ),
            Err(messages::Refused::OtherDirectory) => tracing::warn!(
                "node {} is not the voter of this id: its directory is another one; remove the voter that it was with \
                 kafka-metadata-quorum remove-controller, and add the one that it is",
                self.to
            ),
            Err(messages::Refused::Other(why)) => {
                let cluster_id = &*self.cluster_id;
                tracing::warn!(to = self.to, why, cluster_id, "a replica of the quorum refuses");
            }
        }
    }
}
