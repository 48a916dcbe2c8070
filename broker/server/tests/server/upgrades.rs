//! Nodes of different releases: they make one cluster, speak what both sides know, and keep to what the cluster has
//! agreed on.

use crate::cluster::{COMBINED, World, in_cluster_of};
use burnin_runtime::Runtime;
use burnin_server::{Broker, Release};
use burnin_wire::kafka::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use burnin_wire::kafka::messages::{ApiVersionsRequest, ApiVersionsResponse};
use burnin_wire::{Api, ErrorCode, StrBytes};
use std::time::Duration;

const METADATA_VERSION: &str = "metadata.version";
const ELR: &str = "eligible.leader.replicas.version";

impl World {
    async fn api_versions(&self, id: i32) -> ApiVersionsResponse {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("test"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        call!(self.peer(id).await, ApiVersions v 4, request)
    }

    /// The highest version of an API that a broker says to speak.
    async fn speaks(&self, id: i32, api: Api) -> i16 {
        let answer = self.api_versions(id).await;
        let found = answer.api_keys.iter().find(|key| key.api_key == api.key());
        found.expect("the broker serves it").max_version
    }

    /// Asks broker `id` to raise features.
    async fn raise(&self, id: i32, features: &[(&str, i16)]) -> (ErrorCode, String) {
        let update = |(name, level): &(&str, i16)| {
            FeatureUpdateKey::default()
                .with_feature(StrBytes::from_string((*name).to_owned()))
                .with_max_version_level(*level)
                .with_upgrade_type(1)
        };
        let request = UpdateFeaturesRequest::default()
            .with_timeout_ms(10_000)
            .with_feature_updates(features.iter().map(update).collect());
        let answer = call!(self.peer(id).await, UpdateFeatures v 1, request);
        (ErrorCode(answer.error_code), answer.error_message.unwrap_or_default().to_string())
    }

    /// The same until it is not refused any more.
    async fn raised(&self, id: i32, features: &[(&str, i16)]) {
        let mut last = None;
        for _ in 0..200 {
            last = Some(self.raise(id, features).await);
            if last.as_ref().is_some_and(|(code, _)| *code == ErrorCode::NONE) {
                return;
            }
            self.client.sleep(Duration::from_millis(200)).await;
        }
        panic!("{features:?} is refused: {last:?}");
    }

    /// Stops a node in order and starts it as another release.
    async fn upgrade(&mut self, id: i32, release: Release) {
        let broker = self.brokers.remove(&id).expect("it runs");
        assert_eq!(broker.shutdown().await, Ok(()));
        drop(broker);
        self.handle.kill(self.nodes[&id]).expect("its machine runs");
        self.handle.start(self.nodes[&id]).expect("its machine starts again");
        self.releases.insert(id, release);
        self.start(id).await;
        self.settle().await;
    }
}

async fn an_upgrade_step_by_step(mut world: World) {
    assert_eq!(world.create(1, "orders", 3, 3).await, ErrorCode::NONE);
    for id in [1, 2, 3] {
        world.finalized(id, METADATA_VERSION, Some(21)).await;
        assert_eq!(world.speaks(id, Api::Metadata).await, 12);
        let answer = world.api_versions(id).await;
        assert!(!answer.supported_features.iter().any(|feature| feature.name.as_str() == ELR));
    }
    let (code, why) = world.raise(1, &[(METADATA_VERSION, 25)]).await;
    assert_eq!(code, ErrorCode::INVALID_UPDATE_VERSION);
    assert!(why.contains("only supports versions 21-21"), "{why}");
    for id in [1, 2, 3] {
        world.upgrade(id, Release::V4_0).await;
        world.isrs(id, "orders", |isr| isr.len() == 3).await;
        assert_eq!(world.speaks(id, Api::Metadata).await, 13);
        if id < 3 {
            let (code, why) = world.raise(id, &[(METADATA_VERSION, 25)]).await;
            assert_eq!(code, ErrorCode::INVALID_UPDATE_VERSION);
            assert!(why.contains("only supports versions 21-21"), "{why}");
        }
    }
    // Both at once: the records behind the level have the new versions.
    world.raised(2, &[(METADATA_VERSION, 25), (ELR, 1)]).await;
    for id in [1, 2, 3] {
        world.finalized(id, ELR, Some(1)).await;
    }
    world.kill(3);
    world.settle().await;
    world.isrs(1, "orders", |isr| isr.len() == 2).await;
    // A node of a release that does not know what was agreed on is of no use any more, and says so.
    world.handle.start(world.nodes[&3]).expect("the machine starts");
    world.releases.insert(3, Release::V3_9);
    let outcome = match Broker::start(world.handle.runtime(world.nodes[&3]), world.settings(3)).await {
        Ok(broker) => broker.wait().await.expect_err("it does not go on").to_string(),
        Err(error) => error.to_string(),
    };
    let why = "metadata.version is finalized at level 25, and this node supports 21 to 21";
    assert!(outcome.contains(why), "{outcome}");
    world.handle.kill(world.nodes[&3]).expect("the machine runs");
    world.handle.start(world.nodes[&3]).expect("the machine starts");
    world.releases.insert(3, Release::V4_1);
    world.start(3).await;
    world.settle().await;
    for id in [1, 2] {
        world.upgrade(id, Release::V4_1).await;
    }
    world.raised(1, &[(METADATA_VERSION, 27)]).await;
    for id in [1, 2, 3] {
        world.finalized(id, METADATA_VERSION, Some(27)).await;
        world.isrs(id, "orders", |isr| isr.len() == 3).await;
    }
}

#[test]
fn a_cluster_is_upgraded_node_by_node_and_then_raised() {
    const OLD: &[(i32, Release)] = &[(1, Release::V3_9), (2, Release::V3_9), (3, Release::V3_9)];
    in_cluster_of(COMBINED, "", OLD, an_upgrade_step_by_step);
}

/// What is passed on to the active controller can be asked in no version that the controller does not speak, and every
/// node can be missed, so that old and new ones elect each other.
async fn two_releases(mut world: World) {
    for round in 0..2 {
        for id in [1, 2, 3] {
            world.finalized(id, METADATA_VERSION, Some(21)).await;
            let topic = format!("orders-{round}-{id}");
            assert_eq!(world.create(id, &topic, 2, 3).await, ErrorCode::NONE);
            let spoken = world.speaks(id, Api::UpdateFeatures).await;
            assert!(spoken == 1 || spoken == 2 && id != 1, "broker {id} speaks {spoken}");
            world.raised(id, &[(METADATA_VERSION, 21)]).await;
        }
        for id in [1, 2, 3] {
            world.kill(id);
            world.settle().await;
            let other = world.broker_ids()[0];
            world.isrs(other, &format!("orders-{round}-1"), |isr| !isr.contains(&id)).await;
            world.handle.start(world.nodes[&id]).expect("the machine starts");
            world.start(id).await;
            world.settle().await;
            world.isrs(id, &format!("orders-{round}-1"), |isr| isr.len() == 3).await;
        }
    }
}

#[test]
fn old_and_new_nodes_elect_each_other_and_keep_to_the_old_level() {
    const MIXED: &[(i32, Release)] = &[(1, Release::V3_9), (2, Release::V4_1), (3, Release::V4_0)];
    in_cluster_of(COMBINED, "", MIXED, two_releases);
}
