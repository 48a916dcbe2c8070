//! What the controller carries out: on a controller listener by this node, on a broker's by whoever is active.
//!
//! A broker passes a client's request on as it is, in the client's version, over its own connection to the active
//! controller. Kafka wraps it in an Envelope with the client's principal; without authorization there is nothing
//! that the wrapping would add.

use super::{api_versions, cluster, configs, outcome, raft};
use crate::controller::refuse;
use crate::reply::Reply;
use crate::shared::{Client, Shared};
use burnin_core::metadata::ApiError;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::{alter_configs_response, incremental_alter_configs_response};
use burnin_wire::{Request, RequestHeader, Response, StrBytes};
use std::sync::Arc;
use std::time::Duration;

/// Handles a request on a controller listener.
pub(super) fn handle<R: Runtime>(
    shared: &Arc<Shared<R>>,
    client: &Client,
    header: &RequestHeader,
    request: Request,
) -> Reply<R> {
    let version = header.version;
    match request {
        Request::ApiVersions(request) => {
            Reply::Now(api_versions::api_versions(shared, true, version, &request))
        }
        Request::Vote(request) => raft::vote(shared, version, request),
        Request::BeginQuorumEpoch(request) => raft::begin_epoch(shared, version, request),
        Request::EndQuorumEpoch(request) => raft::end_epoch(shared, version, request),
        Request::DescribeCluster(request) => {
            cluster::describe_controllers(shared, *client, version, &request)
        }
        Request::FetchSnapshot(request) => raft::fetch_snapshot(shared, request),
        Request::Fetch(request) => raft::fetch(shared, client, version, request),
        request => {
            if let Some(reason) = contradiction(&request) {
                return Reply::Close(reason.to_owned());
            }
            let shared = shared.clone();
            Reply::Reading(Box::pin(async move {
                let answer = shared.controller_channel.call_local(version, request.clone()).await;
                answer.unwrap_or_else(|error| refuse(&request, version, &error))
            }))
        }
    }
}

/// Handles a client's request on a broker's listener.
pub(super) fn forward<R: Runtime>(shared: &Arc<Shared<R>>, version: i16, request: Request) -> Reply<R> {
    if let Some(reason) = contradiction(&request) {
        return Reply::Close(reason.to_owned());
    }
    let (shared, mut request) = (shared.clone(), request);
    Reply::Changing(Box::pin(async move {
        let refused = take_refused(&shared, &mut request);
        let within = patience(&shared, &request);
        let call = shared.controller_channel.call_at(version, request.clone(), within);
        let mut response = match call.await {
            Ok(response) => response,
            Err(error) => refuse(&request, version, &error),
        };
        put_refused(&mut response, refused);
        response
    }))
}

/// A topic that is named twice over closes the connection, as what cannot be decoded does.
fn contradiction(request: &Request) -> Option<&'static str> {
    let Request::DeleteTopics(request) = request else { return None };
    let is_doubled = request.topics.iter().any(|topic| topic.name.is_some() && !topic.topic_id.is_nil());
    is_doubled.then_some("DeleteTopics with both name and id of a topic")
}

/// How long the client waits, with a lower bound: what it asked for goes on all the same.
fn patience<R: Runtime>(shared: &Shared<R>, request: &Request) -> Duration {
    let asked = match request {
        Request::CreateTopics(request) => request.timeout_ms,
        Request::DeleteTopics(request) => request.timeout_ms,
        Request::CreatePartitions(request) => request.timeout_ms,
        Request::ElectLeaders(request) => request.timeout_ms,
        Request::AlterPartitionReassignments(request) => request.timeout_ms,
        Request::ListPartitionReassignments(request) => request.timeout_ms,
        Request::UpdateFeatures(request) => request.timeout_ms,
        Request::AddRaftVoter(request) => request.timeout_ms,
        _ => return shared.config.quorum.forward_timeout,
    };
    let asked = Duration::from_millis(u64::try_from(asked).unwrap_or(0));
    asked.clamp(shared.config.quorum.request_timeout, Duration::from_secs(24 * 3600))
}

/// Takes out of a request what this broker does not pass on, settings of another broker
/// (`ConfigAdminManager.preprocess`), and gives the answers to that with their places.
fn take_refused<R: Runtime>(shared: &Shared<R>, request: &mut Request) -> Vec<(usize, Refused)> {
    const BROKER: i8 = burnin_core::metadata::ResourceType::Broker as i8;
    let mut refused = Vec::new();
    let mut at = 0;
    let mut check = |kind: i8, name: &StrBytes| {
        let error = match kind {
            BROKER if !name.is_empty() => configs::check_broker(shared, name).err(),
            _ => None,
        };
        at += 1;
        let is_fine = error.is_none();
        refused.extend(error.map(|error| (at - 1, Refused { kind, name: name.clone(), error })));
        is_fine
    };
    match request {
        Request::AlterConfigs(request) => {
            request.resources.retain(|resource| check(resource.resource_type, &resource.resource_name));
        }
        Request::IncrementalAlterConfigs(request) => {
            request.resources.retain(|resource| check(resource.resource_type, &resource.resource_name));
        }
        _ => {}
    }
    refused
}

/// A resource that was not passed on.
struct Refused {
    kind: i8,
    name: StrBytes,
    error: ApiError,
}

fn put_refused(response: &mut Response, refused: Vec<(usize, Refused)>) {
    for (at, Refused { kind, name, error }) in refused {
        let (code, message) = outcome(&Err(error));
        match response {
            Response::AlterConfigs(response) => response.responses.insert(
                at,
                alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_resource_type(kind)
                    .with_resource_name(name)
                    .with_error_code(code)
                    .with_error_message(message),
            ),
            Response::IncrementalAlterConfigs(response) => response.responses.insert(
                at,
                incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_resource_type(kind)
                    .with_resource_name(name)
                    .with_error_code(code)
                    .with_error_message(message),
            ),
            other => panic!("{} has no resources", other.api()),
        }
    }
}
