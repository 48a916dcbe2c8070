//! AddRaftVoter, RemoveRaftVoter and UpdateRaftVoter (KIP-853): the quorum decides, this asks it and waits.

use super::task::Active;
use super::{Asked, refuse};
use crate::handlers::text;
use crate::peer::Peer;
use crate::shared::Shared;
use burnin_core::controller::KRAFT_VERSION;
use burnin_core::metadata::ApiError;
use burnin_core::quorum::{ReplicaKey, VoterChange, VoterChangeError};
use burnin_runtime::{Runtime, Task, timeout};
use burnin_wire::control_records::{KRaftVersionFeature, Voter, VoterEndpoint};
use burnin_wire::kafka::messages as kafka;
use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::{ErrorCode, Request, Response, StrBytes};
use std::sync::Arc;
use std::time::Duration;

/// Whether this is a request about voters.
pub(super) fn is_about_voters(request: &Request) -> bool {
    matches!(request, Request::AddRaftVoter(_) | Request::RemoveRaftVoter(_) | Request::UpdateRaftVoter(_))
}

/// Answers when the change is committed, or is not going to be made. Nothing else waits for it.
pub(super) fn change<R: Runtime>(active: &Active<R>, asked: Asked) {
    let (shared, epoch) = (active.shared.clone(), active.epoch());
    let work = async move {
        let Asked { request, version, answer } = asked;
        let response = match carry_out(&shared, epoch, &request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::info!(api = %request.api(), error = error.message, "the voters are not changed");
                refuse(&request, version, &error)
            }
        };
        // Whoever asked may have gone.
        let _ = answer.send(Ok(response));
    };
    active.shared.runtime.spawn("change-voters", work).detach();
}

async fn carry_out<R: Runtime>(
    shared: &Arc<Shared<R>>,
    epoch: i32,
    request: &Request,
) -> Result<Response, ApiError> {
    match request {
        Request::AddRaftVoter(request) => add(shared, request).await,
        Request::RemoveRaftVoter(request) => {
            check_cluster(shared, &request.cluster_id)?;
            let key = key(request.voter_id, request.voter_directory_id)?;
            let within = shared.config.quorum.request_timeout;
            make(shared, VoterChange::Remove(key), within).await?;
            Ok(kafka::RemoveRaftVoterResponse::default().with_error_message(None).into())
        }
        Request::UpdateRaftVoter(request) => update(shared, epoch, request).await,
        other => panic!("{} is not about voters", other.api()),
    }
}

async fn add<R: Runtime>(
    shared: &Arc<Shared<R>>,
    request: &kafka::AddRaftVoterRequest,
) -> Result<Response, ApiError> {
    check_cluster(shared, &request.cluster_id)?;
    let key = key(request.voter_id, request.voter_directory_id)?;
    let endpoints: Vec<VoterEndpoint> = request
        .listeners
        .iter()
        .map(|at| VoterEndpoint { name: at.name.to_string(), host: at.host.to_string(), port: at.port })
        .collect();
    let address = main_endpoint(shared, &endpoints)?;
    let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let within = asked.max(shared.config.quorum.request_timeout);
    if shared.quorum.voters().voters.contains_id(key.id) {
        return Err(refusal(&VoterChangeError::DuplicateVoter(key.id)));
    }
    let k_raft_version_feature = kraft_versions(shared, address).await?;
    let voter =
        Voter { voter_id: key.id, voter_directory_id: key.directory, endpoints, k_raft_version_feature };
    make(shared, VoterChange::Add(voter), within).await?;
    Ok(kafka::AddRaftVoterResponse::default().with_error_message(None).into())
}

async fn update<R: Runtime>(
    shared: &Arc<Shared<R>>,
    epoch: i32,
    request: &kafka::UpdateRaftVoterRequest,
) -> Result<Response, ApiError> {
    check_cluster(shared, &request.cluster_id)?;
    let fenced = |code| ApiError::new(code, format!("the leader's epoch is {epoch}"));
    match request.current_leader_epoch {
        asked if asked < epoch => return Err(fenced(ErrorCode::FENCED_LEADER_EPOCH)),
        asked if asked > epoch => return Err(fenced(ErrorCode::UNKNOWN_LEADER_EPOCH)),
        _ => {}
    }
    let key = key(request.voter_id, request.voter_directory_id)?;
    let endpoints: Vec<VoterEndpoint> = request
        .listeners
        .iter()
        .map(|at| VoterEndpoint { name: at.name.to_string(), host: at.host.to_string(), port: at.port })
        .collect();
    main_endpoint(shared, &endpoints)?;
    let range = &request.k_raft_version_feature;
    let k_raft_version_feature = KRaftVersionFeature {
        min_supported_version: range.min_supported_version,
        max_supported_version: range.max_supported_version,
    };
    let voter =
        Voter { voter_id: key.id, voter_directory_id: key.directory, endpoints, k_raft_version_feature };
    make(shared, VoterChange::Update(voter), shared.config.quorum.request_timeout).await?;
    let leader = kafka::update_raft_voter_response::CurrentLeader::default()
        .with_leader_id(BrokerId(shared.identity.node_id))
        .with_leader_epoch(epoch);
    Ok(kafka::UpdateRaftVoterResponse::default().with_current_leader(leader).into())
}

fn check_cluster<R: Runtime>(shared: &Shared<R>, asked: &Option<StrBytes>) -> Result<(), ApiError> {
    match asked {
        Some(id) if *id != shared.identity.cluster_id => {
            let own = &*shared.identity.cluster_id;
            let message = format!("The given id {:?} doesn't match the cluster id {own:?}", id.as_str());
            Err(ApiError::new(ErrorCode::INCONSISTENT_CLUSTER_ID, message))
        }
        _ => Ok(()),
    }
}

fn key(id: i32, directory: uuid::Uuid) -> Result<ReplicaKey, ApiError> {
    if id < 0 || directory.is_nil() {
        return Err(invalid(format!("{id} with the directory {directory} is no voter")));
    }
    Ok(ReplicaKey { id, directory })
}

fn invalid(message: String) -> ApiError {
    ApiError::new(ErrorCode::INVALID_REQUEST, message)
}

/// Where other voters reach it.
fn main_endpoint<R: Runtime>(
    shared: &Shared<R>,
    endpoints: &[VoterEndpoint],
) -> Result<(String, u16), ApiError> {
    let wanted = shared.config.controller_listener_names.first().map_or("", String::as_str);
    let found = endpoints.iter().find(|endpoint| endpoint.name.eq_ignore_ascii_case(wanted));
    match found {
        Some(endpoint) if endpoint.port > 0 && !endpoint.host.is_empty() => {
            Ok((endpoint.host.clone(), endpoint.port))
        }
        _ => Err(invalid(format!("the voter has no endpoint of the listener {wanted}"))),
    }
}

/// The levels of `kraft.version` that a node says to support.
async fn kraft_versions<R: Runtime>(
    shared: &Shared<R>,
    address: (String, u16),
) -> Result<KRaftVersionFeature, ApiError> {
    let where_it_is = format!("{}:{}", address.0, address.1);
    let peer = Peer::new(
        shared.runtime.clone(),
        shared.config.release,
        address,
        format!("raft-client-{}", shared.identity.node_id),
    );
    let request = kafka::ApiVersionsRequest::default()
        .with_client_software_name(text("burnin-broker"))
        .with_client_software_version(text(env!("CARGO_PKG_VERSION")));
    let answer = peer.call_in(3..=i16::MAX, request.into(), shared.config.quorum.request_timeout).await;
    let unreachable = |why: String| {
        let message = format!("the new voter does not answer at {where_it_is}: {why}");
        ApiError::new(ErrorCode::REQUEST_TIMED_OUT, message)
    };
    let response = match answer {
        Ok(Response::ApiVersions(response)) if response.error_code == 0 => response,
        Ok(Response::ApiVersions(response)) => {
            return Err(unreachable(ErrorCode(response.error_code).to_string()));
        }
        Ok(other) => return Err(unreachable(format!("an answer to {}", other.api()))),
        Err(error) => return Err(unreachable(error.to_string())),
    };
    let feature = response.supported_features.iter().find(|feature| feature.name.as_str() == KRAFT_VERSION);
    Ok(feature.map_or_else(KRaftVersionFeature::default, |range| KRaftVersionFeature {
        min_supported_version: range.min_version,
        max_supported_version: range.max_version,
    }))
}

async fn make<R: Runtime>(shared: &Shared<R>, change: VoterChange, within: Duration) -> Result<(), ApiError> {
    match timeout(&shared.runtime, within, shared.quorum.change_voters(change)).await {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(refusal(&error)),
        None => {
            let message = "the change is in the log and not committed yet";
            Err(ApiError::new(ErrorCode::REQUEST_TIMED_OUT, message))
        }
    }
}

fn refusal(error: &VoterChangeError) -> ApiError {
    let code = match error {
        VoterChangeError::NotLeader => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        VoterChangeError::EpochNotCommitted
        | VoterChangeError::ChangePending
        | VoterChangeError::Lagging(_) => ErrorCode::REQUEST_TIMED_OUT,
        VoterChangeError::StaticVoters => ErrorCode::UNSUPPORTED_VERSION,
        VoterChangeError::DuplicateVoter(_) => ErrorCode::DUPLICATE_VOTER,
        VoterChangeError::VoterNotFound(_) => ErrorCode::VOTER_NOT_FOUND,
        VoterChangeError::UnsupportedByVoter(_) | VoterChangeError::LastVoter(_) => {
            ErrorCode::INVALID_REQUEST
        }
    };
    ApiError::new(code, error.to_string())
}
