//! Throttled reassignments: a move takes as long as its bytes at the rate, on whichever side the throttle is; whoever is
//! in sync waits for nothing.

use crate::common::cluster::{Cluster, in_cluster};
use burnin_client::{Admin, Client, ClientConfig, ConfigResource};
use burnin_engine::SimRuntime;
use burnin_runtime::Runtime;
use std::time::Duration;

const RECORDS: usize = 60;
const RECORD_BYTES: usize = 10_000;
const RATE: &str = "100000";

fn admin(cluster: &Cluster) -> (Client<SimRuntime>, Admin<SimRuntime>) {
    let config = ClientConfig::new(vec!["10.0.0.1:9092".to_owned()], "admin");
    let client = Client::new(cluster.client.clone(), config).expect("a good config");
    let admin = Admin::new(&client);
    (client, admin)
}

/// How long it takes to give a partition of 600 kB a third replica, under these throttles.
async fn third_replica(
    cluster: &Cluster,
    topic: &str,
    throttles: &[(&str, &str)],
    rates: &[&str],
) -> Duration {
    let (_client, admin) = admin(cluster);
    cluster.create(topic, &[1, 2], &[("min.insync.replicas", "2")]).await;
    for _ in 0..RECORDS {
        cluster.produce(topic, &"x".repeat(RECORD_BYTES)).await;
    }
    let rates: Vec<_> = rates.iter().map(|name| (*name, Some(RATE))).collect();
    admin.alter_configs(&ConfigResource::BrokerDefault, &rates).await.expect("rates");
    let throttles: Vec<_> = throttles.iter().map(|(name, replicas)| (*name, Some(*replicas))).collect();
    admin.alter_configs(&ConfigResource::Topic(topic.to_owned()), &throttles).await.expect("throttles");
    let began = cluster.client.now();
    admin.reassign(topic, 0, Some(&[1, 2, 3])).await.expect("a reassignment");
    for _ in 0..3 {
        let sent = cluster.client.now();
        cluster.produce(topic, "in sync").await;
        let took = cluster.client.now().since(sent);
        assert!(took < Duration::from_secs(1), "{topic}: acks=all waited {took:?} for a throttled replica");
    }
    cluster.until(topic, "a third replica in sync", |seen| seen.isr == [1, 2, 3]).await;
    let took = cluster.client.now().since(began);
    let all = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
    let undone: Vec<_> = all.iter().map(|name| (*name, None)).collect();
    admin.alter_configs(&ConfigResource::BrokerDefault, &undone).await.expect("no rates");
    took
}

#[test]
fn throttled_move_takes_as_long_as_its_bytes_and_holds_up_nobody_who_is_in_sync() {
    in_cluster(
        3,
        "replica.fetch.max.bytes=20000\nreplica.fetch.wait.max.ms=100",
        async |cluster: Cluster| {
            let leader = ("leader.replication.throttled.replicas", "0:1,0:2");
            let follower = ("follower.replication.throttled.replicas", "0:3");
            let free = third_replica(&cluster, "free", &[], &["leader.replication.throttled.rate"]).await;
            assert!(free < Duration::from_secs(3), "not a replica that is throttled: {free:?}");
            // 600 kB at 100 kB a second.
            let expected = Duration::from_secs(4)..Duration::from_secs(10);
            let sent =
                third_replica(&cluster, "sent", &[leader], &["leader.replication.throttled.rate"]).await;
            assert!(expected.contains(&sent), "throttled on the leader's side: {sent:?}");
            let fetched =
                third_replica(&cluster, "fetched", &[follower], &["follower.replication.throttled.rate"])
                    .await;
            assert!(expected.contains(&fetched), "throttled on the follower's side: {fetched:?}");
            let all = ("follower.replication.throttled.replicas", "*");
            let fetched =
                third_replica(&cluster, "all", &[all], &["follower.replication.throttled.rate"]).await;
            assert!(expected.contains(&fetched), "all replicas: {fetched:?}");
        },
    );
}
