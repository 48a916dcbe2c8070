//! What a cluster does to its metadata log when nobody asks for anything.

use crate::common::cluster::{Cluster, in_cluster};
use burnin_runtime::Observation;

/// How many snapshots each node has taken.
fn snapshots(cluster: &Cluster) -> [usize; 3] {
    let taken = cluster.observations(|number, observation| match observation {
        Observation::SnapshotTaken { .. } => Some(number),
        _ => None,
    });
    [0, 1, 2].map(|number| taken.iter().filter(|node| **node == number).count())
}

/// Below which offset anybody knows the metadata to be committed.
fn committed(cluster: &Cluster) -> i64 {
    let offsets = cluster.observations(|_, observation| match observation {
        Observation::QuorumCommitted { offset, .. } => Some(*offset),
        _ => None,
    });
    offsets.into_iter().max().expect("something is committed")
}

#[test]
fn an_idle_cluster_takes_snapshots_in_time_and_none_when_nothing_is_new() {
    in_cluster(3, "metadata.log.max.snapshot.interval.ms=60000", async |cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], &[]).await;
        assert_eq!(snapshots(&cluster), [0, 0, 0]);
        cluster.sleep(70).await;
        assert_eq!(snapshots(&cluster), [1, 1, 1]);
        cluster.sleep(600).await;
        assert_eq!(snapshots(&cluster), [1, 1, 1]);
    });
}

#[test]
fn an_idle_controller_writes_nothing() {
    in_cluster(3, "", async |cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], &[]).await;
        cluster.sleep(5).await;
        let before = committed(&cluster);
        cluster.sleep(100).await;
        assert_eq!(committed(&cluster), before);
    });
}

#[test]
fn an_idle_controller_writes_records_that_say_nothing_where_it_shall() {
    in_cluster(3, "metadata.max.idle.interval.ms=500", async |cluster: Cluster| {
        cluster.create("t", &[1, 2, 3], &[]).await;
        cluster.sleep(5).await;
        let before = committed(&cluster);
        cluster.sleep(100).await;
        let written = committed(&cluster) - before;
        assert!((190..=201).contains(&written), "{written} in 100 s");
    });
}
