//! One handler per API. A handler decides at once what it can, and returns a future for the rest.

mod api_versions;
mod cluster;
mod configs;
mod controller_apis;
mod coordinators;
mod delete_records;
mod log_dirs;
mod metadata;
mod offsets;
mod producers;
mod raft;

pub(crate) use cluster::{Node, nodes};

use crate::reply::Reply;
use crate::shared::{Client, Shared};
use crate::{fetch, produce};
use burnin_core::metadata::ApiError;
use burnin_runtime::Runtime;
use burnin_wire::{Request, RequestHeader, Response, StrBytes};
use std::sync::Arc;

/// Handles one request.
pub(crate) fn handle<R: Runtime>(
    shared: &Arc<Shared<R>>,
    client: &Client,
    header: &RequestHeader,
    request: Request,
) -> Reply<R> {
    let version = header.version;
    let controller_listener = shared.listeners[client.listener].is_controllers;
    if !api_versions::served(controller_listener).contains(&header.api) {
        return Reply::Close(format!("{} is not served here", header.api));
    }
    if controller_listener {
        return controller_apis::handle(shared, client, header, request);
    }
    match request {
        Request::Produce(request) => produce::handle(shared, client, header, request),
        Request::Fetch(request) => fetch::handle(shared, client, header, request),
        Request::ListOffsets(request) => offsets::list(shared, version, request),
        Request::Metadata(request) => metadata::metadata(shared, *client, version, request),
        Request::ApiVersions(request) => {
            Reply::Now(api_versions::api_versions(shared, controller_listener, version, &request))
        }
        Request::InitProducerId(request) => producers::init(shared, request),
        Request::FindCoordinator(request) => Reply::Now(coordinators::find(version, request)),
        Request::DescribeConfigs(request) => Reply::Now(configs::describe(shared, version, request)),
        Request::DescribeCluster(request) => Reply::Now(cluster::describe(shared, client, version, &request)),
        Request::DescribeTopicPartitions(request) => {
            Reply::Now(metadata::describe_partitions(shared, client, request))
        }
        Request::DescribeLogDirs(request) => Reply::Now(log_dirs::describe(shared, &request)),
        Request::DeleteRecords(request) => delete_records::delete(shared, request),
        Request::OffsetForLeaderEpoch(request) => Reply::Now(offsets::for_leader_epoch(shared, request)),
        other => controller_apis::forward(shared, version, other),
    }
}

/// A change that answers with a response, in any case.
fn changing<R: Runtime, T: Into<Response> + Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Reply<R> {
    Reply::Changing(Box::pin(async move { work.await.into() }))
}

pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// Error code and message of an outcome.
pub(crate) fn outcome(result: &Result<(), ApiError>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (0, None),
        Err(error) => (error.code.code(), Some(text(error.message.clone()))),
    }
}
