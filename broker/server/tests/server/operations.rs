//! A cluster while its operators work on it, and while its replicas disagree on who leads: reassignments, elections that
//! are asked for, settings that change, epochs of the past.

use crate::common::cluster::{Cluster, in_cluster};
use crate::common::peer::Peer;
use crate::common::requests::*;
use burnin_runtime::{Observation, Runtime};
use burnin_wire::kafka::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use burnin_wire::kafka::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use burnin_wire::kafka::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use burnin_wire::kafka::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use burnin_wire::kafka::messages::{BrokerId, TopicName};
use burnin_wire::{ErrorCode, Request, Response};
use std::sync::{Arc, Mutex};

const MIN_ISR_2: &[(&str, &str)] = &[("min.insync.replicas", "2")];

async fn ask(cluster: &Cluster, number: usize, version: i16, request: impl Into<Request>) -> Response {
    cluster.peer(number).await.call(version, request).await
}

async fn reassign(cluster: &Cluster, number: usize, topic: &str, replicas: &[i32]) {
    let partition = ReassignablePartition::default()
        .with_replicas(Some(replicas.iter().map(|id| BrokerId(*id)).collect()));
    let topic = ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request =
        AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let Response::AlterPartitionReassignments(answer) = ask(cluster, number, 0, request).await else {
        panic!("another answer");
    };
    assert_eq!(answer.error_code, 0, "{answer:?}");
    assert_eq!(answer.responses[0].partitions[0].error_code, 0, "{answer:?}");
}

/// Of the first partition: preferred (0) or unclean (1).
async fn elect(cluster: &Cluster, number: usize, topic: &str, kind: i8) -> ErrorCode {
    let wanted = TopicPartitions::default().with_topic(name(topic)).with_partitions(vec![0]);
    let request = ElectLeadersRequest::default()
        .with_election_type(kind)
        .with_topic_partitions(Some(vec![wanted]))
        .with_timeout_ms(10_000);
    let Response::ElectLeaders(answer) = ask(cluster, number, 2, request).await else {
        panic!("another answer");
    };
    assert_eq!(answer.error_code, 0, "{answer:?}");
    ErrorCode(answer.replica_election_results[0].partition_result[0].error_code)
}

async fn set_topic(cluster: &Cluster, number: usize, topic: &str, property: &str, value: &str) {
    let config = AlterableConfig::default().with_name(text(property)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let Response::IncrementalAlterConfigs(answer) = ask(cluster, number, 1, request).await else {
        panic!("another answer");
    };
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

/// What Fetch, ListOffsets ("latest") and OffsetForLeaderEpoch say to a client that believes in this leader epoch; of
/// ListOffsets the offset too.
async fn in_epoch(cluster: &Cluster, number: usize, topic: &str, epoch: i32) -> ([ErrorCode; 3], i64) {
    let mut request = fetch(topic, 0, 0);
    request.topics[0].partitions[0].current_leader_epoch = epoch;
    let Response::Fetch(fetched) = ask(cluster, number, 12, request).await else { panic!("another answer") };
    let mut request = list_offsets(topic, 0, -1);
    request.topics[0].partitions[0].current_leader_epoch = epoch;
    let Response::ListOffsets(listed) = ask(cluster, number, 5, request).await else {
        panic!("another answer");
    };
    let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(epoch).with_leader_epoch(0);
    let asked =
        OffsetForLeaderTopic::default().with_topic(TopicName(text(topic))).with_partitions(vec![partition]);
    let request =
        OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
    let Response::OffsetForLeaderEpoch(ended) = ask(cluster, number, 3, request).await else {
        panic!("another answer");
    };
    let listed = &listed.topics[0].partitions[0];
    let codes = [
        fetched.responses[0].partitions[0].error_code,
        listed.error_code,
        ended.topics[0].partitions[0].error_code,
    ];
    (codes.map(ErrorCode), listed.offset)
}

#[test]
fn reassigned_partition_has_its_records_and_goes_on() {
    in_cluster(3, "", async |cluster: Cluster| {
        cluster.create("t", &[1, 2], MIN_ISR_2).await;
        for n in 0..5 {
            cluster.produce("t", &format!("{n}")).await;
        }
        reassign(&cluster, 1, "t", &[2, 3]).await;
        cluster.until("t", "the new replicas", |seen| seen.isr == [2, 3] && seen.leader == 2).await;
        cluster.produce("t", "5").await;
        assert_eq!(cluster.read("t").await, ["0", "1", "2", "3", "4", "5"]);
        let refused = cluster.produce_to(0, "t", -1, "x").await;
        assert_eq!(ErrorCode(refused.error_code), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    });
}

/// Some of them have appended, and not yet synced, when their leader stops to wait for others.
#[test]
fn producers_that_wait_are_answered_when_the_leader_is_left_alone() {
    in_cluster(3, "", async |cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.produce("t", "first").await;
        let answers = Arc::new(Mutex::new(Vec::new()));
        let producers: Vec<_> = (0..12)
            .map(|_| {
                let (client, answers) = (cluster.client.clone(), answers.clone());
                cluster.client.spawn("producer", async move {
                    let mut peer = Peer::connect(&client, ([10, 0, 0, 1], 9092).into()).await;
                    for n in 0..60 {
                        let mut request = produce("t", 0, -1, batch(&[&format!("{n}")]));
                        request.timeout_ms = 5_000;
                        let Response::Produce(answer) = peer.call(11, request).await else {
                            panic!("another answer");
                        };
                        let code = answer.responses[0].partition_responses[0].error_code;
                        answers.lock().unwrap().push(ErrorCode(code));
                    }
                })
            })
            .collect();
        reassign(&cluster, 0, "t", &[1]).await;
        cluster.until("t", "one replica", |seen| seen.isr == [1]).await;
        cluster.sleep(20).await;
        drop(producers);
        let answers = answers.lock().unwrap();
        assert_eq!(answers.len(), 12 * 60);
        assert!(answers.iter().all(|code| *code == ErrorCode::NONE), "{answers:?}");
    });
}

#[test]
fn preferred_leader_leads_again_when_that_is_asked_for() {
    in_cluster(3, "auto.leader.rebalance.enable=false", async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.produce("t", "a").await;
        cluster.stop(0).await;
        let seen = cluster.until("t", "another leader", |seen| seen.leader > 1).await;
        cluster.boot(0).await;
        cluster.until("t", "a full ISR", |seen| seen.isr == [1, 2, 3]).await;
        assert_eq!(elect(&cluster, 2, "t", 0).await, ErrorCode::NONE);
        let again = cluster.until("t", "the preferred leader", |seen| seen.leader == 1).await;
        assert_eq!(again.leader_epoch, seen.leader_epoch + 1);
        assert_eq!(elect(&cluster, 2, "t", 0).await, ErrorCode::ELECTION_NOT_NEEDED);
        cluster.produce("t", "b").await;
        assert_eq!(cluster.read("t").await, ["a", "b"]);
    });
}

#[test]
fn min_isr_that_changes_holds_for_the_next_request() {
    in_cluster(3, "replica.lag.time.max.ms=2000", async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.kill(2);
        cluster.until("t", "the dead one is out", |seen| seen.isr == [1, 2]).await;
        cluster.produce("t", "a").await;
        set_topic(&cluster, 1, "t", "min.insync.replicas", "3").await;
        cluster.sleep(1).await;
        let answer = cluster.produce_to(0, "t", -1, "b").await;
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::NOT_ENOUGH_REPLICAS);
        let answer = cluster.produce_to(0, "t", 1, "c").await;
        assert_eq!(answer.error_code, 0);
        cluster.sleep(1).await;
        assert_eq!(cluster.read("t").await, ["a"], "nothing is committed");
        set_topic(&cluster, 1, "t", "min.insync.replicas", "2").await;
        cluster.produce("t", "d").await;
        assert_eq!(cluster.read("t").await, ["a", "c", "d"]);
    });
}

#[test]
fn clients_in_another_leader_epoch_are_told() {
    in_cluster(3, "", async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.produce("t", "a").await;
        cluster.stop(0).await;
        let seen = cluster.until("t", "another leader", |seen| seen.leader > 1).await;
        cluster.produce("t", "b").await;
        let leader = seen.leader as usize - 1;
        let (codes, latest) = in_epoch(&cluster, leader, "t", seen.leader_epoch).await;
        assert_eq!((codes, latest), ([ErrorCode::NONE; 3], 2));
        let (codes, _) = in_epoch(&cluster, leader, "t", seen.leader_epoch - 1).await;
        assert_eq!(codes, [ErrorCode::FENCED_LEADER_EPOCH; 3]);
        let (codes, _) = in_epoch(&cluster, leader, "t", seen.leader_epoch + 1).await;
        assert_eq!(codes, [ErrorCode::UNKNOWN_LEADER_EPOCH; 3]);
    });
}

/// The new leader holds a record of which it does not know whether it is committed (KIP-207).
#[test]
fn latest_is_not_known_before_the_high_watermark_has_reached_the_new_epoch() {
    in_cluster(5, "replica.lag.time.max.ms=60000", async |mut cluster: Cluster| {
        let active = |number, observation: &Observation| {
            matches!(observation, Observation::ControllerActive { .. }).then_some(number)
        };
        let controller = *cluster.observations(active).last().expect("a controller");
        // Nobody of these loses the controller.
        let replicas: Vec<usize> = (0..5).filter(|number| *number != controller).take(3).collect();
        let ids: Vec<i32> = replicas.iter().map(|number| *number as i32 + 1).collect();
        let [first, second, third] = replicas[..] else { unreachable!("three were taken") };
        cluster.create("t", &ids, MIN_ISR_2).await;
        cluster.produce("t", "a").await;
        let net = cluster.handle.net();
        net.partition(cluster.nodes[first], cluster.nodes[third]).unwrap();
        net.partition(cluster.nodes[second], cluster.nodes[third]).unwrap();
        let answer = cluster.produce_to(first, "t", 1, "b").await;
        assert_eq!(answer.error_code, 0);
        cluster.sleep(1).await;
        cluster.kill(first);
        let at = cluster.client_now_plus(60);
        while cluster.seen_by(second, "t").await.unwrap().leader != ids[1] {
            assert!(cluster.before(at));
            cluster.sleep(1).await;
        }
        let (codes, _) = in_epoch(&cluster, second, "t", -1).await;
        assert_eq!(codes, [ErrorCode::NONE, ErrorCode::OFFSET_NOT_AVAILABLE, ErrorCode::NONE]);
        assert_eq!(cluster.read_from(second, "t", "").await, ["a"]);
        cluster.handle.net().heal_all();
        cluster.produce("t", "c").await;
        assert_eq!(in_epoch(&cluster, second, "t", -1).await, ([ErrorCode::NONE; 3], 3));
        assert_eq!(cluster.read("t").await, ["a", "b", "c"]);
    });
}

/// What a topic keeps is in the metadata, which nobody can follow for a while.
#[test]
fn retention_waits_until_the_settings_are_known() {
    let settings = "log.retention.check.interval.ms=1000\nlog.retention.ms=1000";
    in_cluster(3, settings, async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], &[("min.insync.replicas", "2"), ("retention.ms", "-1")]).await;
        for n in 0..3 {
            cluster.produce("t", &format!("{n}")).await;
        }
        for number in 0..3 {
            cluster.power_loss(number);
        }
        cluster.revive(0).await;
        cluster.sleep(10).await;
        cluster.revive(1).await;
        cluster.revive(2).await;
        cluster.produce("t", "3").await;
        assert_eq!(cluster.read("t").await, ["0", "1", "2", "3"]);
        let advanced = cluster.observations(|number, observation| match observation {
            Observation::LogStartAdvanced { partition, .. } if &**partition == "t-0" => Some(number),
            _ => None,
        });
        assert_eq!(advanced, [0_usize; 0]);
    });
}

/// It knows a high watermark that the unclean election took back, and that election is over: nothing in the metadata
/// speaks of it any more.
#[test]
fn replica_that_was_away_during_an_unclean_election_gives_up_what_was_lost() {
    let settings = "replica.lag.time.max.ms=2000\nreplica.high.watermark.checkpoint.interval.ms=500";
    in_cluster(5, settings, async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], &[]).await;
        cluster.produce("t", "a").await;
        cluster.sleep(1).await;
        cluster.kill(1);
        cluster.kill(2);
        cluster.until("t", "one is left", |seen| seen.isr == [1]).await;
        cluster.produce("t", "lost1").await;
        cluster.produce("t", "lost2").await;
        cluster.sleep(2).await;
        cluster.kill(0);
        cluster.revive(1).await;
        cluster.revive(2).await;
        cluster.until("t", "nobody may lead", |seen| seen.leader == -1).await;
        cluster.sleep(12).await;
        assert_eq!(elect(&cluster, 3, "t", 1).await, ErrorCode::NONE);
        cluster.until("t", "both are in sync", |seen| seen.isr == [2, 3]).await;
        cluster.produce("t", "b").await;
        cluster.revive(0).await;
        cluster.until("t", "a full ISR", |seen| seen.isr == [1, 2, 3]).await;
        assert_eq!(cluster.read("t").await, ["a", "b"]);
        let cuts = cluster.observations(|number, observation| match observation {
            Observation::CommittedCut { offset, high_watermark, .. } if number == 0 => {
                Some((*offset, *high_watermark))
            }
            _ => None,
        });
        assert_eq!(cuts, [(1, 3)]);
    });
}
