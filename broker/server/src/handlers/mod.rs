//! One handler per API. A handler decides at once what it can, and returns a future for the rest.

mod api_versions;
mod cluster;
mod configs;
mod coordinators;
mod delete_records;
mod metadata;
mod offsets;
mod producers;
mod topics;

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
    match request {
        Request::Produce(request) => produce::handle(shared, header, request),
        Request::Fetch(request) => fetch::handle(shared, header, request),
        Request::ListOffsets(request) => offsets::list(shared, version, request),
        Request::Metadata(request) => metadata::metadata(shared, *client, version, request),
        Request::ApiVersions(request) => Reply::Now(api_versions::api_versions(shared, version, &request)),
        Request::InitProducerId(request) => producers::init(shared, request),
        Request::FindCoordinator(request) => Reply::Now(coordinators::find(version, request)),
        Request::CreateTopics(request) => topics::create(shared, version, request),
        Request::DeleteTopics(request) => topics::delete(shared, version, request),
        Request::CreatePartitions(request) => topics::create_partitions(shared, request),
        Request::DescribeConfigs(request) => Reply::Now(configs::describe(shared, version, request)),
        Request::AlterConfigs(request) => configs::replace(shared, request),
        Request::IncrementalAlterConfigs(request) => configs::alter(shared, request),
        Request::DescribeCluster(request) => Reply::Now(cluster::describe(shared, client, version, &request)),
        Request::DescribeTopicPartitions(request) => {
            Reply::Now(metadata::describe_partitions(shared, request))
        }
        Request::DeleteRecords(request) => delete_records::delete(shared, request),
        Request::OffsetForLeaderEpoch(request) => Reply::Now(offsets::for_leader_epoch(shared, request)),
        other => Reply::Close(format!("{} is not served", other.api())),
    }
}

/// A change that answers with a response, in any case.
fn changing<R: Runtime, T: Into<Response> + Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Reply<R> {
    Reply::Changing(Box::pin(async move { work.await.into() }))
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// Error code and message of an outcome.
fn outcome(result: &Result<(), ApiError>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (0, None),
        Err(error) => (error.code.code(), Some(text(error.message.clone()))),
    }
}
