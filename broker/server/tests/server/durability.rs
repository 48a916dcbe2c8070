//! What a broker keeps through kills, power losses and failing disks, in the simulator.

use crate::common::peer::Peer;
use crate::common::requests::*;
use crate::common::*;
use burnin_engine::{DiskOp, FailRule, SimHandle, SimNode};
use burnin_runtime::{Observation, Probe, ProbeSink, Runtime};
use burnin_server::{BrokerConfig, ErrorClass, StartError, StopError};
use burnin_wire::ErrorCode;
use burnin_wire::kafka::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use std::sync::{Arc, Mutex};
use std::time::Duration;

async fn connect(handle: &SimHandle, client: SimNode) -> Peer<burnin_engine::SimRuntime> {
    Peer::connect(&handle.runtime(client), (SERVER_IP, 9092).into()).await
}

async fn leader_epoch(peer: &mut Peer<burnin_engine::SimRuntime>) -> i32 {
    let topic = MetadataRequestTopic::default().with_name(Some(name("t")));
    let answer = call!(peer, Metadata v 9, MetadataRequest::default().with_topics(Some(vec![topic])));
    answer.topics[0].partitions[0].leader_epoch
}

#[derive(Default)]
struct Acked(Mutex<Vec<(i64, i64)>>);

impl ProbeSink for Acked {
    fn observe(&self, observation: Observation) {
        if let Observation::ProduceAcked { base_offset, last_offset, .. } = observation {
            self.0.lock().unwrap().push((base_offset, last_offset));
        }
    }
}

/// Produces while the machine dies at a drawn moment, several times over. What was acknowledged is there
/// afterwards, and offsets that were assigned again have another epoch.
#[test]
fn acknowledged_records_survive_power_losses() {
    let mut losses = 0;
    for seed in 0..30 {
        losses += in_world(seed, async move |handle: SimHandle, server, client| {
            let config = sim_config("");
            let mut acked: Vec<(i64, String)> = Vec::new();
            let (mut epoch, mut unacked) = (-1, 0);
            for life in 0..4 {
                let broker = start_in(&handle, server, &config).await.expect("the broker starts");
                let mut peer = connect(&handle, client).await;
                if life == 0 {
                    call!(peer, CreateTopics v 7, create("t", 1, &[]));
                }
                let now = leader_epoch(&mut peer).await;
                assert!(now > epoch, "each start raises the leader epoch: from={epoch} to={now}");
                epoch = now;
                let count = handle.entropy("count").below(40);
                let mut sent = Vec::new();
                for n in 0..count {
                    let value = format!("{life}-{n}");
                    let id = peer.send(9, produce("t", 0, -1, batch(&[&value]))).await;
                    sent.push((id, value));
                    if n % 8 == 7 {
                        let (id, value) = sent.remove(0);
                        let burnin_wire::Response::Produce(answer) =
                            peer.receive(id, burnin_wire::Api::Produce, 9).await
                        else {
                            panic!()
                        };
                        acked.push((answer.responses[0].partition_responses[0].base_offset, value));
                    }
                }
                unacked += sent.len();
                handle
                    .runtime(client)
                    .sleep(handle.entropy("when").duration(Duration::ZERO, Duration::from_millis(3)))
                    .await;
                handle.power_loss(server).unwrap();
                drop(broker);
                handle.start(server).unwrap();
            }
            let _broker = start_in(&handle, server, &config).await.unwrap();
            let mut peer = connect(&handle, client).await;
            let mut found = Vec::new();
            loop {
                let data = call!(peer, Fetch v 12, fetch("t", 0, found.len() as i64))
                    .responses
                    .remove(0)
                    .partitions
                    .remove(0);
                let more = values(&data);
                if more.is_empty() {
                    break;
                }
                found.extend(more);
            }
            for (offset, value) in &acked {
                assert_eq!(found.get(*offset as usize).map(|(_, v)| v), Some(value), "offset {offset}");
            }
            assert!(found.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "offsets have no gap");
            unacked
        });
    }
    assert!(losses > 100, "requests were in flight when the power went: {losses}");
}

#[test]
fn a_clean_stop_answers_what_was_asked() {
    in_world(1, async |handle: SimHandle, server, client| {
        let config = sim_config("");
        let broker = start_in(&handle, server, &config).await.unwrap();
        let mut peer = connect(&handle, client).await;
        call!(peer, CreateTopics v 7, create("t", 1, &[]));
        let mut poller = connect(&handle, client).await;
        poller.send(12, fetch("t", 0, 0).with_max_wait_ms(3_600_000).with_min_bytes(1_000_000)).await;
        handle.disk(server).slow(50.0).unwrap();
        let id = peer.send(9, produce("t", 0, -1, batch(&["a"]))).await;
        handle.runtime(client).sleep(Duration::from_millis(2)).await;
        broker.shutdown().await.unwrap();
        let burnin_wire::Response::Produce(answer) = peer.receive(id, burnin_wire::Api::Produce, 9).await
        else {
            panic!()
        };
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "it was in flight");
        poller.expect_closed().await;
        assert_eq!(broker.wait().await, Ok(()));
        assert_eq!(broker.shutdown().await, Ok(()), "a second call");
        drop(broker);
        handle.disk(server).heal();
        let _broker = start_in(&handle, server, &config).await.unwrap();
        let mut peer = connect(&handle, client).await;
        assert!(leader_epoch(&mut peer).await > 0);
    });
}

/// Without controlled shutdown, or when the process is killed, pages survive: nothing is lost either.
#[test]
fn a_killed_broker_keeps_everything_that_was_written() {
    in_world(2, async |handle: SimHandle, server, client| {
        let config = sim_config("log.flush.interval.messages=9223372036854775807");
        let broker = start_in(&handle, server, &config).await.unwrap();
        let mut peer = connect(&handle, client).await;
        call!(peer, CreateTopics v 7, create("t", 1, &[]));
        for _ in 0..10 {
            call!(peer, Produce v 9, produce("t", 0, 1, batch(&["a"])));
        }
        handle.kill(server).unwrap();
        drop(broker);
        handle.start(server).unwrap();
        let _broker = start_in(&handle, server, &config).await.unwrap();
        let mut peer = connect(&handle, client).await;
        assert_eq!(call!(peer, ListOffsets v 5, list_offsets("t", 0, -1)).topics[0].partitions[0].offset, 10);
        assert!(leader_epoch(&mut peer).await > 0);
    });
}

#[test]
fn a_failed_fsync_is_never_acknowledged_and_halts_the_broker() {
    in_world(3, async |handle: SimHandle, server, client| {
        let acked = Arc::new(Acked::default());
        let node = handle.add_node(burnin_engine::NodeSpec {
            probe: Probe::to(acked.clone()),
            ..burnin_engine::NodeSpec::new("probed", [10, 0, 0, 9])
        });
        let config = config(&sim_config(""), "listeners=PLAINTEXT://10.0.0.9:9092");
        let _ = server;
        let broker = start_in(&handle, node, &config).await.unwrap();
        let mut peer = Peer::connect(&handle.runtime(client), ([10, 0, 0, 9], 9092).into()).await;
        call!(peer, CreateTopics v 7, create("t", 1, &[]));
        assert_eq!(
            call!(peer, Produce v 9, produce("t", 0, 1, batch(&["a"]))).responses[0].partition_responses[0]
                .error_code,
            0
        );
        handle.disk(node).fail(FailRule::next(DiskOp::Sync, 1)).unwrap();
        let answer = call!(peer, Produce v 9, produce("t", 0, 1, batch(&["b"])));
        let code = ErrorCode(answer.responses[0].partition_responses[0].error_code);
        assert_eq!(code, ErrorCode::KAFKA_STORAGE_ERROR);
        let stopped = broker.wait().await;
        assert!(matches!(stopped, Err(StopError::LogDirectory(_))), "{stopped:?}");
        peer.expect_closed().await;
        assert_eq!(*acked.0.lock().unwrap(), [(0, 0)]);
    });
}

/// A hung fsync: the client gets its answer when its timeout has passed, and no acknowledgement before the disk
/// has come back.
#[test]
fn a_hung_disk_times_requests_out() {
    in_world(4, async |handle: SimHandle, server, client| {
        let _broker = start_in(&handle, server, &sim_config("")).await.unwrap();
        let mut peer = connect(&handle, client).await;
        call!(peer, CreateTopics v 7, create("t", 1, &[]));
        handle.disk(server).hang(Some(Duration::from_secs(10)));
        let began = handle.now();
        let answer = call!(peer, Produce v 9, produce("t", 0, -1, batch(&["a"])).with_timeout_ms(2_000));
        assert_eq!(
            ErrorCode(answer.responses[0].partition_responses[0].error_code),
            ErrorCode::REQUEST_TIMED_OUT
        );
        let waited = handle.now().since(began);
        assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(3), "{waited:?}");
        assert_eq!(
            call!(peer, ListOffsets v 5, list_offsets("t", 0, -1)).topics[0].partitions[0].offset,
            0,
            "not durable, not visible"
        );
        let answer = call!(peer, Produce v 9, produce("t", 0, -1, batch(&["b"])).with_timeout_ms(30_000));
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, 1);
    });
}

#[test]
fn a_directory_of_another_node_or_cluster_or_a_used_one_is_refused() {
    in_world(5, async |handle: SimHandle, server, _client| {
        let config = sim_config("cluster.id=first");
        let start = async |config: &BrokerConfig| {
            start_in(&handle, server, config).await.map_err(|error| (error.class(), error.to_string()))
        };
        let broker = start(&config).await.unwrap();
        let elsewhere = |settings: &str| {
            crate::common::config(&config, &format!("listeners=PLAINTEXT://10.0.0.1:9093\n{settings}"))
        };
        let refused = |result: Result<(), (ErrorClass, String)>, class, hint: &str| {
            let (seen, text) = result.expect_err("it does not start");
            assert_eq!(seen, class, "{text}");
            assert!(text.contains(hint), "{text}");
        };
        refused(start(&config).await.map(drop), ErrorClass::Environment, "the port is in use");
        refused(
            start(&elsewhere("")).await.map(drop),
            ErrorClass::Environment,
            "another process uses this log directory",
        );
        refused(start(&elsewhere("node.id=2")).await.map(drop), ErrorClass::Usage, "belongs to node.id `1`");
        refused(
            start(&elsewhere("cluster.id=second")).await.map(drop),
            ErrorClass::Usage,
            "belongs to cluster.id `first`",
        );
        broker.shutdown().await.unwrap();
        drop(broker);
        let broker = start(&elsewhere("")).await.unwrap();
        assert_eq!(broker.cluster_id(), "first");
    });
}

/// Whatever moment the power goes during the very first start, the next start works.
#[test]
fn formatting_can_be_interrupted_at_any_moment() {
    for seed in 0..40 {
        in_world(seed, async move |handle: SimHandle, server, client| {
            let config = sim_config("");
            let starting = start_in(&handle, server, &config);
            let moment = Duration::from_micros(seed * 150);
            let started = burnin_runtime::timeout(&handle.control(), moment, starting).await;
            handle.power_loss(server).unwrap();
            drop(started);
            handle.start(server).unwrap();
            let broker = start_in(&handle, server, &config).await;
            if let Err(StartError::Unformatted { reason, .. }) = &broker {
                panic!("after {moment:?}: {reason}");
            }
            let _broker = broker.unwrap();
            let mut peer = connect(&handle, client).await;
            assert_eq!(call!(peer, CreateTopics v 7, create("t", 1, &[])).topics[0].error_code, 0);
        });
    }
}

/// A topic whose deletion or creation was cut short is wholly gone, or wholly there, after the next start.
#[test]
fn interrupted_admin_requests_leave_no_half() {
    for seed in 0..40 {
        in_world(seed, async move |handle: SimHandle, server, client| {
            let config = sim_config("");
            let broker = start_in(&handle, server, &config).await.unwrap();
            let mut peer = connect(&handle, client).await;
            call!(peer, CreateTopics v 7, create("t", 3, &[]));
            call!(peer, Produce v 9, produce("t", 2, 1, batch(&["old"])));
            use burnin_wire::kafka::messages::delete_topics_request::DeleteTopicsRequest;
            peer.send(4, DeleteTopicsRequest::default().with_topic_names(vec![name("t")])).await;
            peer.send(7, create("t", 3, &[])).await;
            handle.runtime(client).sleep(Duration::from_micros(seed * 200)).await;
            handle.power_loss(server).unwrap();
            drop(broker);
            handle.start(server).unwrap();
            let _broker = start_in(&handle, server, &config).await.unwrap();
            let mut peer = connect(&handle, client).await;
            let all = call!(peer, Metadata v 9, MetadataRequest::default().with_topics(None));
            match all.topics.first() {
                None => {
                    assert_eq!(call!(peer, CreateTopics v 7, create("t", 3, &[])).topics[0].error_code, 0)
                }
                Some(topic) => assert_eq!(topic.partitions.len(), 3),
            }
            for partition in 0..3 {
                let answer = call!(peer, Produce v 9, produce("t", partition, 1, batch(&["new"])));
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
            }
        });
    }
}
