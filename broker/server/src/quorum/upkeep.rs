//! What a controller asks the leader for on its own: that its entry among the voters is brought up to date (KIP-853), and
//! with `controller.quorum.auto.join.enable` that it becomes a voter (KIP-1186).

use super::Addresses;
use crate::handlers::text;
use crate::peer::Peer;
use burnin_core::Release;
use burnin_core::config::BrokerConfig;
use burnin_core::quorum::{Quorum as Replica, RoleName};
use burnin_runtime::{Instant, Runtime, Task};
use burnin_wire::control_records::Voter;
use burnin_wire::kafka::messages as kafka;
use burnin_wire::{ErrorCode, Request, Response, StrBytes};
use std::time::Duration;

/// See the module.
pub(super) struct Upkeep<R: Runtime> {
    runtime: R,
    addresses: Addresses,
    cluster_id: StrBytes,
    own: Voter,
    release: Release,
    is_controller: bool,
    joins: bool,
    every: Duration,
    within: Duration,
    due: Instant,
}

impl<R: Runtime> Upkeep<R> {
    pub(super) fn new(
        runtime: &R,
        config: &BrokerConfig,
        cluster_id: StrBytes,
        own: Voter,
        addresses: Addresses,
    ) -> Upkeep<R> {
        Upkeep {
            runtime: runtime.clone(),
            addresses,
            cluster_id,
            own,
            release: config.release,
            is_controller: config.roles.controller,
            joins: config.quorum.auto_join,
            every: config.quorum.fetch_timeout,
            within: config.quorum.request_timeout,
            due: runtime.now() + config.quorum.fetch_timeout,
        }
    }

    /// This node as a voter.
    pub(super) fn own(&self) -> &Voter {
        &self.own
    }

    /// When to look next.
    pub(super) fn deadline(&self, replica: &Replica) -> Instant {
        let may_change = self.is_controller && replica.voters_offset().is_some();
        if may_change { self.due } else { Instant::FAR_FUTURE }
    }

    /// Asks when it is time and there is something to ask for. What is refused is asked for again.
    pub(super) fn tick(&mut self, replica: &Replica) {
        let now = self.runtime.now();
        if now < self.deadline(replica) {
            return;
        }
        self.due = now + self.every;
        let state = replica.election_state();
        let leader = state.leader.filter(|_| replica.role() == RoleName::Follower);
        let Some(address) = leader.and_then(|leader| self.addresses.of(leader)) else { return };
        let Some(request) = self.wish(replica, state.epoch) else { return };
        let client_id = format!("raft-client-{}", self.own.voter_id);
        let peer = Peer::new(self.runtime.clone(), self.release, address, client_id);
        let within = self.within;
        let asking = async move {
            let api = request.api();
            match peer.call_in(0..=i16::MAX, request, within).await.map(|answer| code(&answer)) {
                Ok(ErrorCode::NONE) => tracing::info!(%api, "the voters are changed as this node asked"),
                Ok(code) => tracing::info!(%api, %code, "the voters are not changed as this node asked"),
                Err(error) => tracing::info!(%api, %error, "the leader does not answer about the voters"),
            }
        };
        self.runtime.spawn("quorum-upkeep", asking).detach();
    }

    fn wish(&self, replica: &Replica, epoch: i32) -> Option<Request> {
        let (own, voters) = (&self.own, replica.voters());
        if replica.needs_update(own) {
            let request = kafka::UpdateRaftVoterRequest::default()
                .with_cluster_id(Some(self.cluster_id.clone()))
                .with_current_leader_epoch(epoch)
                .with_voter_id(own.voter_id)
                .with_voter_directory_id(own.voter_directory_id)
                .with_listeners(self.listeners(|name, host, port| {
                    kafka::update_raft_voter_request::Listener::default()
                        .with_name(name)
                        .with_host(host)
                        .with_port(port)
                }))
                .with_k_raft_version_feature(
                    kafka::update_raft_voter_request::KRaftVersionFeature::default()
                        .with_min_supported_version(own.k_raft_version_feature.min_supported_version)
                        .with_max_supported_version(own.k_raft_version_feature.max_supported_version),
                );
            return Some(request.into());
        }
        match voters.key(own.voter_id) {
            _ if !self.joins => None,
            Some(known) if known.directory == own.voter_directory_id => None,
            // The one that this node was, before it lost its disk.
            Some(lost) => Some(
                kafka::RemoveRaftVoterRequest::default()
                    .with_cluster_id(Some(self.cluster_id.clone()))
                    .with_voter_id(lost.id)
                    .with_voter_directory_id(lost.directory)
                    .into(),
            ),
            None => Some(
                kafka::AddRaftVoterRequest::default()
                    .with_cluster_id(Some(self.cluster_id.clone()))
                    .with_timeout_ms(i32::try_from(self.within.as_millis()).unwrap_or(i32::MAX))
                    .with_voter_id(own.voter_id)
                    .with_voter_directory_id(own.voter_directory_id)
                    .with_listeners(self.listeners(|name, host, port| {
                        kafka::add_raft_voter_request::Listener::default()
                            .with_name(name)
                            .with_host(host)
                            .with_port(port)
                    }))
                    .into(),
            ),
        }
    }

    fn listeners<T>(&self, make: impl Fn(StrBytes, StrBytes, u16) -> T) -> Vec<T> {
        let endpoints = self.own.endpoints.iter();
        endpoints.map(|at| make(text(at.name.as_str()), text(at.host.as_str()), at.port)).collect()
    }
}

fn code(answer: &Response) -> ErrorCode {
    ErrorCode(match answer {
        Response::UpdateRaftVoter(answer) => answer.error_code,
        Response::AddRaftVoter(answer) => answer.error_code,
        Response::RemoveRaftVoter(answer) => answer.error_code,
        _ => ErrorCode::UNKNOWN_SERVER_ERROR.code(),
    })
}
