//! Who leads instead, for clients that asked the wrong broker (KIP-951), and which error tells them so.

use crate::handlers::nodes;
use crate::shared::{Client, Shared};
use burnin_runtime::Runtime;
use burnin_wire::{ErrorCode, StrBytes};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A topic as a request names it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named<'a> {
    Name(&'a str),
    Id(&'a Uuid),
}

/// The leader that the metadata name: node id (-1 for none) and leader epoch.
pub(crate) fn leader_of<R: Runtime>(shared: &Shared<R>, topic: Named<'_>, number: i32) -> Option<(i32, i32)> {
    let image = shared.image.read();
    let topic = match topic {
        Named::Name(name) => image.topic(name),
        Named::Id(id) => image.topic_by_id(id),
    };
    let partition = topic?.partitions.get(&number)?;
    Some((partition.leader, partition.leader_epoch))
}

/// Why a partition that is not here cannot be served: it is elsewhere, or nowhere.
pub(crate) fn not_here<R: Runtime>(shared: &Shared<R>, topic: Named<'_>, number: i32) -> ErrorCode {
    match (leader_of(shared, topic, number), topic) {
        (Some(_), _) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        (None, Named::Id(id)) if shared.image.read().topic_name(id).is_none() => ErrorCode::UNKNOWN_TOPIC_ID,
        (None, _) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    }
}

/// Where a leader is reached.
pub(crate) struct Endpoint {
    pub(crate) id: i32,
    pub(crate) host: StrBytes,
    pub(crate) port: i32,
    pub(crate) rack: Option<StrBytes>,
}

/// Where these leaders are reached through the client's listener, each once.
pub(crate) fn endpoints<R: Runtime>(shared: &Shared<R>, client: &Client, leaders: &[i32]) -> Vec<Endpoint> {
    let image = shared.image.read();
    let known = nodes(shared, client, &image).into_iter().filter(|node| leaders.contains(&node.id));
    let endpoint = |node: crate::handlers::Node| Endpoint {
        id: node.id,
        host: node.host,
        port: node.port,
        rack: node.rack,
    };
    let unique: BTreeMap<i32, Endpoint> = known.map(|node| (node.id, endpoint(node))).collect();
    unique.into_values().collect()
}
