//! DescribeCluster (KIP-700), and the brokers as clients see them.

use crate::reply::Reply;
use crate::shared::{Client, Shared};
use burnin_core::metadata::Image;
use burnin_runtime::{Runtime, timeout};
use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::kafka::messages::describe_cluster_request::DescribeClusterRequest;
use burnin_wire::kafka::messages::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponse,
};
use burnin_wire::{ErrorCode, Response, StrBytes};
use std::sync::Arc;

/// A broker as a client of one listener sees it.
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) host: StrBytes,
    pub(crate) port: i32,
    pub(crate) rack: Option<StrBytes>,
    is_fenced: bool,
}

/// The brokers that can be used, under the addresses of the client's listener.
pub(crate) fn nodes<R: Runtime>(shared: &Shared<R>, client: &Client, image: &Image) -> Vec<Node> {
    known(shared, client, image).filter(|node| !node.is_fenced).collect()
}

/// The same with those that cannot be used.
fn known<R: Runtime>(shared: &Shared<R>, client: &Client, image: &Image) -> impl Iterator<Item = Node> {
    let listener = &shared.listeners[client.listener].name;
    let node = move |(id, broker): (&i32, &burnin_core::metadata::Broker)| {
        let (host, port) = if *id == shared.identity.node_id {
            shared.advertised(client)
        } else {
            let (_, host, port) = broker.endpoints.iter().find(|(name, ..)| name == listener)?;
            (super::text(host.as_str()), i32::from(*port))
        };
        let rack = broker.rack.as_deref().map(super::text);
        Some(Node { id: *id, host, port, rack, is_fenced: broker.fenced })
    };
    image.brokers().iter().filter_map(node)
}

/// Whom a client takes for the controller: this broker, which sends on what the controller must do, or another one
/// while this one is fenced. -1 while all are: a client that is named a broker it is not told of waits for it in vain.
pub(super) fn controller_id<R: Runtime>(shared: &Shared<R>, nodes: &[Node]) -> BrokerId {
    let own = shared.identity.node_id;
    let listed = nodes.iter().find(|node| node.id == own).or(nodes.first());
    BrokerId(listed.map_or(-1, |node| node.id))
}

/// Waits until a broker is known that can be used. Kafka serves no client before it has caught up with the metadata;
/// librdkafka, told of no broker and of no controller, waits for one without asking again.
pub(super) async fn some_broker<R: Runtime>(shared: &Shared<R>, client: &Client) {
    let mut applied = shared.applied.watch();
    let known = async {
        loop {
            applied.see();
            if has_broker(shared, client) {
                return;
            }
            applied.changed().await;
        }
    };
    timeout(&shared.runtime, shared.config.quorum.forward_timeout, known).await;
}

/// Whether [`some_broker`] has nothing to wait for.
pub(super) fn has_broker<R: Runtime>(shared: &Shared<R>, client: &Client) -> bool {
    !nodes(shared, client, &shared.image.read()).is_empty()
}

/// The endpoint types of DescribeCluster (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// An answer without nodes yet, or that the client is at the wrong kind of listener.
fn described<R: Runtime>(
    shared: &Shared<R>,
    version: i16,
    request: &DescribeClusterRequest,
    served: i8,
) -> Result<DescribeClusterResponse, Box<DescribeClusterResponse>> {
    let response = DescribeClusterResponse::default();
    let asked = if version >= 1 { request.endpoint_type } else { BROKERS };
    let (code, message) = match asked {
        _ if asked == served => {
            let response = response.with_cluster_id(shared.identity.cluster_id.clone());
            return Ok(if version >= 1 { response.with_endpoint_type(served) } else { response });
        }
        CONTROLLERS => (ErrorCode::MISMATCHED_ENDPOINT_TYPE, "this is an endpoint of a broker"),
        BROKERS => (ErrorCode::MISMATCHED_ENDPOINT_TYPE, "this is an endpoint of a controller"),
        _ => {
            (ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, "unknown endpoint type (known: 1 brokers, 2 controllers)")
        }
    };
    let message = Some(StrBytes::from_static_str(message));
    Err(Box::new(response.with_error_code(code.code()).with_error_message(message)))
}

/// Answers DescribeCluster on a controller listener (KIP-919): the controllers that have registered, and who of them
/// is active. Waits while nobody is known to be: Java's client, told so, does not ask again and waits in vain.
pub(super) fn describe_controllers<R: Runtime>(
    shared: &Arc<Shared<R>>,
    client: Client,
    version: i16,
    request: &DescribeClusterRequest,
) -> Reply<R> {
    let response = match described(shared, version, request, CONTROLLERS) {
        Ok(response) => response,
        Err(response) => return Reply::Now((*response).into()),
    };
    if has_active_controller(shared, &client) {
        return Reply::Now(with_controllers(shared, &client, response));
    }
    let shared = shared.clone();
    Reply::Reading(Box::pin(async move {
        active_controller(&shared, &client).await;
        with_controllers(&shared, &client, response)
    }))
}

fn with_controllers<R: Runtime>(
    shared: &Shared<R>,
    client: &Client,
    mut response: DescribeClusterResponse,
) -> Response {
    response.brokers = controllers(shared, client, &shared.image.read()).collect();
    response.controller_id = BrokerId(shared.quorum.leader().leader.unwrap_or(-1));
    response.into()
}

/// The controllers that have registered, under their addresses on the client's listener.
fn controllers<R: Runtime>(
    shared: &Shared<R>,
    client: &Client,
    image: &Image,
) -> impl Iterator<Item = DescribeClusterBroker> {
    let listener = &shared.listeners[client.listener].name;
    image.controllers().iter().filter_map(move |(id, controller)| {
        let (_, host, port) = controller.endpoints.iter().find(|(name, ..)| name == listener)?;
        let node = DescribeClusterBroker::default().with_broker_id(BrokerId(*id));
        Some(node.with_host(super::text(host.as_str())).with_port(i32::from(*port)))
    })
}

/// Whether this node knows of an active controller, and where it is.
fn has_active_controller<R: Runtime>(shared: &Shared<R>, client: &Client) -> bool {
    let leader = shared.quorum.leader().leader;
    leader
        .is_some_and(|id| controllers(shared, client, &shared.image.read()).any(|node| node.broker_id == id))
}

/// Waits until [`has_active_controller`].
async fn active_controller<R: Runtime>(shared: &Shared<R>, client: &Client) {
    let (mut leader, mut applied) = (shared.quorum.watch_leader(), shared.applied.watch());
    let known = async {
        loop {
            leader.see();
            applied.see();
            if has_active_controller(shared, client) {
                return;
            }
            tokio::select! {
                biased;
                () = leader.changed() => {}
                () = applied.changed() => {}
            }
        }
    };
    timeout(&shared.runtime, shared.config.quorum.forward_timeout, known).await;
}

/// Answers DescribeCluster.
pub(super) fn describe<R: Runtime>(
    shared: &Shared<R>,
    client: &Client,
    version: i16,
    request: &DescribeClusterRequest,
) -> Response {
    let mut response = match described(shared, version, request, BROKERS) {
        Ok(response) => response,
        Err(response) => return (*response).into(),
    };
    let image = shared.image.read();
    response.controller_id = controller_id(shared, &nodes(shared, client, &image));
    // Those that cannot be used as well, if they are asked for (KIP-1073).
    let includes_fenced = version >= 2 && request.include_fenced_brokers;
    response.brokers = known(shared, client, &image)
        .filter(|node| includes_fenced || !node.is_fenced)
        .map(|node| {
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(node.id))
                .with_host(node.host)
                .with_port(node.port)
                .with_rack(node.rack)
                .with_is_fenced(node.is_fenced)
        })
        .collect();
    response.into()
}
