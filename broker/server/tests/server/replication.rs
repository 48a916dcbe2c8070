//! What a cluster of brokers keeps: acknowledged records through failovers, one history in all replicas, an ISR that
//! says the truth.

use crate::common::cluster::{Cluster, in_cluster};
use burnin_runtime::{Disk, File, Observation, OpenOptions, Runtime};
use burnin_wire::kafka::messages as kafka;
use burnin_wire::{ErrorCode, Response};
use bytes::Bytes;
use std::path::Path;

const MIN_ISR_2: &[(&str, &str)] = &[("min.insync.replicas", "2")];

#[test]
fn acknowledged_records_survive_the_leaders_death() {
    in_cluster(3, "", async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        let mut acked = Vec::new();
        for n in 0..20 {
            acked.push((cluster.produce("t", &format!("a{n}")).await, format!("a{n}")));
        }
        assert_eq!(cluster.read("t").await.len(), 20);
        cluster.kill(0);
        for n in 0..20 {
            acked.push((cluster.produce("t", &format!("b{n}")).await, format!("b{n}")));
        }
        let seen = cluster.until("t", "another leader", |seen| seen.leader != 1 && seen.leader > 0).await;
        assert!(seen.leader_epoch > 0);
        let read = cluster.read("t").await;
        for (offset, value) in &acked {
            assert_eq!(read.get(*offset as usize), Some(value), "offset {offset}");
        }
        cluster.revive(0).await;
        cluster.until("t", "a full ISR", |seen| seen.isr == [1, 2, 3]).await;
        let read_again = cluster.read("t").await;
        assert_eq!(read_again, read);
    });
}

/// The old leader is cut off, takes records that nobody acknowledges, and comes back: it gives them up.
#[test]
fn an_old_leader_with_a_longer_log_is_cut_to_the_common_history() {
    in_cluster(3, "", async |cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.produce("t", "both").await;
        let net = cluster.handle.net();
        net.partition(cluster.nodes[0], cluster.nodes[1]).unwrap();
        net.partition(cluster.nodes[0], cluster.nodes[2]).unwrap();
        for n in 0..5 {
            let answer = cluster.produce_to(0, "t", 1, &format!("lonely{n}")).await;
            assert_eq!(answer.error_code, 0, "acks=1 waits for nobody else");
        }
        let late = cluster.produce_to(0, "t", -1, "never").await;
        assert_ne!(ErrorCode(late.error_code), ErrorCode::NONE);
        let at = cluster.client_now_plus(60);
        loop {
            let seen = cluster.seen_by(1, "t").await.unwrap();
            if seen.leader > 1 {
                break;
            }
            assert!(cluster.before(at), "{seen:?}");
            cluster.sleep(1).await;
        }
        let leader = cluster.seen_by(1, "t").await.unwrap().leader as usize - 1;
        let answer = cluster.produce_to(leader, "t", -1, "after").await;
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::NONE, "{:?}", answer.error_message);
        assert_eq!(answer.base_offset, 1);
        cluster.handle.net().heal_all();
        cluster.until("t", "a full ISR", |seen| seen.isr == [1, 2, 3]).await;
        assert_eq!(cluster.read("t").await, ["both", "after"]);
        let cuts = cluster.observations(|number, observation| match observation {
            Observation::LogTruncated { partition, offset } if number == 0 && &**partition == "t-0" => {
                Some(*offset)
            }
            _ => None,
        });
        assert_eq!(cuts, [1]);
        let redirected = cluster.produce_to(0, "t", -1, "x").await;
        assert_eq!(ErrorCode(redirected.error_code), ErrorCode::NOT_LEADER_OR_FOLLOWER);
        assert_eq!(redirected.current_leader.leader_id.0, leader as i32 + 1, "it says who leads");
    });
}

/// The epoch of a follower's last batch rots into a later one than any leader ever had.
#[test]
fn a_follower_whose_last_epoch_rotted_gets_in_sync_again() {
    in_cluster(3, "", async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.produce("t", "a").await;
        cluster.sleep(2).await;
        cluster.kill(2);
        cluster.handle.start(cluster.nodes[2]).unwrap();
        let runtime = cluster.handle.runtime(cluster.nodes[2]);
        let path = Path::new("/data/t-0/00000000000000000000.log");
        let file = runtime.disk().open(path, OpenOptions::WRITE).await.unwrap();
        let epoch_at = 12;
        assert_eq!(file.read_at(epoch_at, 4).await.unwrap(), [0; 4][..]);
        file.write_at(epoch_at, vec![Bytes::from_static(&[0, 0, 1, 0])]).await.unwrap();
        cluster.boot(2).await;
        cluster.produce("t", "b").await;
        cluster.until("t", "a full ISR", |seen| seen.isr == [1, 2, 3]).await;
        let cuts = cluster.observations(|number, observation| match observation {
            Observation::LogTruncated { partition, offset } if &**partition == "t-0" => {
                Some((number, *offset))
            }
            _ => None,
        });
        assert_eq!(cuts, [(2, 0)]);
        cluster.kill(0);
        cluster.until("t", "another leader", |seen| seen.leader > 1).await;
        // What had no answer while the follower was away was sent again.
        let mut read = cluster.read("t").await;
        read.dedup();
        assert_eq!(read, ["a", "b"]);
    });
}

#[test]
fn too_few_replicas_in_sync_refuse_acks_all_and_come_back() {
    in_cluster(3, "replica.lag.time.max.ms=2000", async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.produce("t", "a").await;
        cluster.kill(1);
        cluster.produce("t", "b").await;
        cluster.until("t", "the dead one is out", |seen| seen.isr == [1, 3]).await;
        // The quorum lives on with two of three, the partition with its one follower cut off does not.
        cluster.handle.net().partition(cluster.nodes[0], cluster.nodes[2]).unwrap();
        cluster.sleep(1).await;
        cluster.handle.net().heal_all();
        cluster.produce("t", "c").await;
        cluster.revive(1).await;
        cluster.until("t", "a full ISR", |seen| seen.isr == [1, 2, 3]).await;
        assert_eq!(cluster.read("t").await, ["a", "b", "c"]);
    });
}

#[test]
fn min_isr_is_asked_before_and_after_the_append() {
    in_cluster(3, "replica.lag.time.max.ms=2000", async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2], MIN_ISR_2).await;
        cluster.produce("t", "a").await;
        cluster.kill(1);
        let late = cluster.produce_to(0, "t", -1, "b").await;
        let late = ErrorCode(late.error_code);
        assert!([ErrorCode::REQUEST_TIMED_OUT, ErrorCode::NOT_ENOUGH_REPLICAS].contains(&late), "{late}");
        cluster.until("t", "the dead one is out", |seen| seen.isr == [1]).await;
        let answer = cluster.produce_to(0, "t", -1, "c").await;
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::NOT_ENOUGH_REPLICAS);
        let answer = cluster.produce_to(0, "t", 1, "d").await;
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::NONE);
        assert_eq!(cluster.read("t").await, ["a"], "the high watermark rests below min.insync.replicas");
        cluster.revive(1).await;
        cluster.until("t", "it is back", |seen| seen.isr == [1, 2]).await;
        cluster.produce("t", "e").await;
        assert_eq!(cluster.read("t").await.last().map(String::as_str), Some("e"));
    });
}

#[test]
fn a_follower_serves_consumers_of_its_rack() {
    let settings = "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector";
    in_cluster(3, settings, async |cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        for n in 0..3 {
            cluster.produce("t", &format!("{n}")).await;
        }
        cluster.sleep(1).await;
        assert_eq!(cluster.preferred_replica(0, "t", "rack2").await, 2);
        assert_eq!(cluster.preferred_replica(0, "t", "rack1").await, -1, "the leader is in that rack");
        assert_eq!(cluster.preferred_replica(0, "t", "nowhere").await, -1);
        assert_eq!(cluster.read_from(1, "t", "rack2").await, ["0", "1", "2"]);
    });
}

#[test]
fn an_orderly_stop_hands_leadership_over_and_a_restart_loses_nothing() {
    in_cluster(3, "", async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.produce("t", "a").await;
        cluster.stop(0).await;
        let seen = cluster.until("t", "another leader", |seen| seen.leader != 1).await;
        assert!(seen.leader > 0, "{seen:?}");
        cluster.produce("t", "b").await;
        cluster.boot(0).await;
        cluster.until("t", "a full ISR", |seen| seen.isr == [1, 2, 3]).await;
        assert_eq!(cluster.read("t").await, ["a", "b"]);
    });
}

#[test]
fn everybody_loses_power_and_nothing_acknowledged_is_lost() {
    in_cluster(3, "", async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        for n in 0..10 {
            cluster.produce("t", &format!("{n}")).await;
        }
        for number in 0..3 {
            cluster.power_loss(number);
        }
        for number in 0..3 {
            cluster.revive(number).await;
        }
        cluster.produce("t", "10").await;
        let all: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        assert_eq!(cluster.read("t").await, all);
        cluster.until("t", "a full ISR", |seen| seen.isr == [1, 2, 3]).await;
    });
}

/// Whoever waits on a connection that is dead waits for longer than any test.
const PATIENT: &str = "replica.socket.timeout.ms=3600000";

impl Cluster {
    /// Has the first replica of the topic lead again.
    async fn elect_preferred(&self, topic: &str) {
        let partitions = kafka::elect_leaders_request::TopicPartitions::default()
            .with_topic(crate::common::requests::name(topic))
            .with_partitions(vec![0]);
        let request = kafka::ElectLeadersRequest::default()
            .with_topic_partitions(Some(vec![partitions]))
            .with_timeout_ms(10_000);
        let Response::ElectLeaders(answer) = self.peer(1).await.call(2, request).await else {
            panic!("another answer");
        };
        let code = answer.replica_election_results[0].partition_result[0].error_code;
        assert_eq!(ErrorCode(code), ErrorCode::NONE);
    }
}

/// The machine of a leader loses power while its followers wait for it, so that no packet ever tells them. When it leads
/// again they fetch from it at once, over another connection.
#[test]
fn followers_do_not_wait_for_a_machine_that_died_in_silence() {
    in_cluster(3, PATIENT, async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.produce("t", "a").await;
        cluster.sleep(1).await;
        cluster.power_loss(0);
        cluster.revive(0).await;
        cluster.until("t", "another leader", |seen| seen.leader > 1 && seen.isr == [1, 2, 3]).await;
        cluster.elect_preferred("t").await;
        cluster.until("t", "it leads again", |seen| seen.leader == 1).await;
        let answer = cluster.produce_to(0, "t", -1, "b").await;
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::NONE, "{:?}", answer.error_message);
        assert_eq!(cluster.read("t").await, ["a", "b"]);
    });
}

/// The same for a follower that was cut off meanwhile: it hears of all of that at once, and for it the leader never
/// was another one.
#[test]
fn a_follower_knows_that_its_leader_was_started_again() {
    in_cluster(3, PATIENT, async |mut cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], MIN_ISR_2).await;
        cluster.produce("t", "a").await;
        cluster.sleep(1).await;
        let net = cluster.handle.net();
        net.partition(cluster.nodes[2], cluster.nodes[0]).unwrap();
        net.partition(cluster.nodes[2], cluster.nodes[1]).unwrap();
        cluster.sleep(20).await;
        cluster.power_loss(0);
        cluster.revive(0).await;
        let at = cluster.client_now_plus(60);
        let seen_by_2 = async |cluster: &Cluster| cluster.seen_by(1, "t").await.unwrap();
        while seen_by_2(&cluster).await.isr != [1, 2] || seen_by_2(&cluster).await.leader != 2 {
            assert!(cluster.before(at), "{:?}", seen_by_2(&cluster).await);
            cluster.sleep(1).await;
        }
        cluster.elect_preferred("t").await;
        cluster.handle.net().heal_all();
        cluster.until("t", "a full ISR", |seen| seen.leader == 1 && seen.isr == [1, 2, 3]).await;
    });
}
