//! DescribeCluster (KIP-700), and the brokers as clients see them.

use crate::shared::{Client, Shared};
use burnin_core::metadata::Image;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::kafka::messages::describe_cluster_request::DescribeClusterRequest;
use burnin_wire::kafka::messages::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponse,
};
use burnin_wire::{ErrorCode, Response, StrBytes};

/// A broker as a client of one listener sees it.
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) host: StrBytes,
    pub(super) port: i32,
    pub(super) rack: Option<StrBytes>,
}

/// The brokers that can be used, under the addresses of the client's listener.
pub(super) fn nodes<R: Runtime>(shared: &Shared<R>, client: &Client, image: &Image) -> Vec<Node> {
    let listener = &shared.listeners[client.listener].name;
    let node = |(id, broker): (&i32, &burnin_core::metadata::Broker)| {
        let (host, port) = if *id == shared.identity.node_id {
            shared.advertised(client)
        } else {
            let (_, host, port) = broker.endpoints.iter().find(|(name, ..)| name == listener)?;
            (super::text(host.as_str()), i32::from(*port))
        };
        Some(Node { id: *id, host, port, rack: broker.rack.as_deref().map(super::text) })
    };
    image.brokers().iter().filter(|(_, broker)| !broker.fenced).filter_map(node).collect()
}

/// The endpoint types of DescribeCluster (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers DescribeCluster.
pub(super) fn describe<R: Runtime>(
    shared: &Shared<R>,
    client: &Client,
    version: i16,
    request: &DescribeClusterRequest,
) -> Response {
    let mut response = DescribeClusterResponse::default();
    let asked = if version >= 1 { request.endpoint_type } else { BROKERS };
    if asked != BROKERS {
        let (code, message) = match asked {
            CONTROLLERS => (ErrorCode::MISMATCHED_ENDPOINT_TYPE, "this is an endpoint of a broker"),
            _ => (
                ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
                "unknown endpoint type (known: 1 brokers, 2 controllers)",
            ),
        };
        response.error_code = code.code();
        response.error_message = Some(StrBytes::from_static_str(message));
        return response.into();
    }
    if version >= 1 {
        response.endpoint_type = BROKERS;
    }
    response.cluster_id = shared.identity.cluster_id.clone();
    response.controller_id = BrokerId(shared.identity.node_id);
    let nodes = nodes(shared, client, &shared.image.read());
    response.brokers = nodes
        .into_iter()
        .map(|node| {
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(node.id))
                .with_host(node.host)
                .with_port(node.port)
                .with_rack(node.rack)
        })
        .collect();
    response.into()
}
