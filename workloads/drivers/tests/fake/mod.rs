//! A scripted cluster: brokers that share one memory, keep Kafka's rules for idempotent producers, and
//! misbehave towards clients on purpose. What is truly in a log can be looked up.

#![allow(dead_code, unused_imports, reason = "each test uses its part")]

mod log;

pub use log::{Log, Truth};

use burnin_engine::{NodeSpec, SimHandle, SimNode, SimRuntime};
use burnin_runtime::{Entropy, Listener, Net, Runtime, Task};
use burnin_wire::kafka::messages::api_versions_response::ApiVersion;
use burnin_wire::kafka::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use burnin_wire::kafka::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use burnin_wire::kafka::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use burnin_wire::kafka::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use burnin_wire::kafka::messages::*;
use burnin_wire::{Api, Request, RequestHeader, Response, StrBytes, decode_request, encode_response};
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use uuid::Uuid;

pub const TOPIC: &str = "orders";
const PORT: u16 = 9092;

/// How often brokers misbehave: probabilities per produce request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mischief {
    /// The connection ends before the request is served.
    pub drop_before: f64,
    /// The connection ends after it was served and before it is answered.
    pub drop_after: f64,
    /// The connection ends, and the request is served later.
    pub late: f64,
    /// It is served and never answered.
    pub silent: f64,
    /// It is refused with an error that says that nothing was appended.
    pub refuse: f64,
    /// It is appended and answered with an error that says that nobody knows.
    pub doubt: f64,
    /// The leader moves to another broker first.
    pub elect: f64,
    /// The broker forgets the producers' state.
    pub forget: f64,
}

pub struct World {
    pub logs: Vec<Log>,
    pub leaders: Vec<(usize, i32)>,
    brokers: usize,
    pub mischief: Mischief,
    entropy: Entropy,
    next_producer_id: i64,
    pub fetch_version_max: i16,
    pub produced: u64,
    pub fetched: u64,
}

pub struct Fake {
    pub world: Arc<Mutex<World>>,
    pub nodes: Vec<SimNode>,
    appended: Arc<Notify>,
}

impl Fake {
    /// Starts brokers 1..=brokers on nodes of their own, with one topic.
    pub fn start(handle: &SimHandle, brokers: usize, partitions: usize) -> Fake {
        let world = World {
            logs: (0..partitions).map(|_| Log::default()).collect(),
            leaders: (0..partitions).map(|index| (index % brokers, 0)).collect(),
            brokers,
            mischief: Mischief::default(),
            entropy: handle.entropy("fake"),
            next_producer_id: 1000,
            fetch_version_max: 12,
            produced: 0,
            fetched: 0,
        };
        let world = Arc::new(Mutex::new(world));
        let appended = Arc::new(Notify::new());
        let nodes = (0..brokers)
            .map(|at| {
                let (world, appended) = (world.clone(), appended.clone());
                let node = handle.add_node(
                    NodeSpec::new(format!("broker-{}", at + 1), ip(at))
                        .start(move |runtime| listen(runtime, at, world.clone(), appended.clone())),
                );
                handle.start(node).expect("a new node starts");
                node
            })
            .collect();
        Fake { world, nodes, appended }
    }

    pub fn bootstrap(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|at| format!("broker-{}:{PORT}", at + 1)).collect()
    }
}

fn ip(at: usize) -> [u8; 4] {
    [10, 0, 0, at as u8 + 1]
}

async fn listen(runtime: SimRuntime, at: usize, world: Arc<Mutex<World>>, appended: Arc<Notify>) {
    let mut listener = runtime.net().listen((ip(at), PORT).into()).await.expect("the port is free");
    loop {
        let (stream, _) = listener.accept().await.expect("listening");
        let (world, appended) = (world.clone(), appended.clone());
        runtime.spawn("fake/connection", serve(runtime.clone(), stream, at, world, appended)).detach();
    }
}

type Stream = <<SimRuntime as Runtime>::Net as Net>::Stream;

async fn serve(
    runtime: SimRuntime,
    mut stream: Stream,
    at: usize,
    world: Arc<Mutex<World>>,
    appended: Arc<Notify>,
) {
    let mut incoming = BytesMut::new();
    loop {
        while incoming.len() < 4
            || incoming.len() < 4 + i32::from_be_bytes(*incoming.first_chunk().unwrap()) as usize
        {
            match stream.read_buf(&mut incoming).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let length = incoming.get_i32() as usize;
        let frame = incoming.split_to(length).freeze();
        let (header, request) = decode_request(frame).expect("the client sends what can be decoded");
        let answer = match request {
            Request::Produce(request) => {
                let (fate, delay) = world.lock().fate();
                match fate {
                    Fate::DropBefore => return,
                    Fate::Late => {
                        let (world, appended) = (world.clone(), appended.clone());
                        let later = runtime.clone();
                        runtime
                            .spawn("fake/late", async move {
                                later.sleep(delay).await;
                                world.lock().produce(at, &request, Fate::Serve);
                                appended.notify_waiters();
                            })
                            .detach();
                        return;
                    }
                    fate => {
                        let response = world.lock().produce(at, &request, fate);
                        appended.notify_waiters();
                        match fate {
                            Fate::DropAfter => return,
                            Fate::Silent => continue,
                            _ if request.acks == 0 => continue,
                            _ => Response::Produce(response),
                        }
                    }
                }
            }
            Request::Fetch(request) => {
                let wait = runtime.sleep(Duration::from_millis(request.max_wait_ms as u64));
                tokio::pin!(wait);
                loop {
                    let news = appended.notified();
                    let (response, empty) = world.lock().fetch(at, &header, &request);
                    if !empty {
                        break Response::Fetch(response);
                    }
                    tokio::select! {
                        biased;
                        () = news => {}
                        () = &mut wait => break Response::Fetch(response),
                    }
                }
            }
            request => world.lock().answer(at, &header, request),
        };
        let mut parts = encode_response(&header, &answer);
        if stream.write_all_buf(&mut parts).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Serve,
    DropBefore,
    DropAfter,
    Late,
    Silent,
    Refuse,
    Doubt,
}

impl World {
    /// Moves a partition to the next broker, in a new epoch.
    pub fn elect(&mut self, index: usize) {
        let (leader, epoch) = self.leaders[index];
        self.leaders[index] = ((leader + 1) % self.brokers, epoch + 1);
    }

    fn fate(&mut self) -> (Fate, Duration) {
        let m = self.mischief;
        if self.entropy.chance(m.elect) {
            let at = self.entropy.below(self.leaders.len() as u64) as usize;
            self.elect(at);
        }
        if self.entropy.chance(m.forget) {
            let at = self.entropy.below(self.logs.len() as u64) as usize;
            self.logs[at].forget();
        }
        let delay = self.entropy.duration(Duration::from_millis(1), Duration::from_secs(3));
        let mut dice = self.entropy.unit();
        for (fate, p) in [
            (Fate::DropBefore, m.drop_before),
            (Fate::DropAfter, m.drop_after),
            (Fate::Late, m.late),
            (Fate::Silent, m.silent),
            (Fate::Refuse, m.refuse),
            (Fate::Doubt, m.doubt),
        ] {
            if dice < p {
                return (fate, delay);
            }
            dice -= p;
        }
        (Fate::Serve, delay)
    }

    fn produce(&mut self, at: usize, request: &ProduceRequest, fate: Fate) -> ProduceResponse {
        self.produced += 1;
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let index = data.index as usize;
                let (leader, epoch) = self.leaders[index];
                let batch = data.records.clone().expect("a batch");
                let (code, base_offset) = if leader != at {
                    (6, -1)
                } else if fate == Fate::Refuse {
                    (19, -1)
                } else {
                    match self.logs[index].append(&batch, epoch) {
                        Ok(_) if fate == Fate::Doubt => (20, -1),
                        Ok(base_offset) => (0, base_offset),
                        Err(code) => (code, -1),
                    }
                };
                PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_error_code(code)
                    .with_base_offset(base_offset)
            });
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_partition_responses(partitions.collect())
        });
        ProduceResponse::default().with_responses(topics.collect())
    }

    fn fetch(&mut self, at: usize, header: &RequestHeader, request: &FetchRequest) -> (FetchResponse, bool) {
        self.fetched += 1;
        let mut empty = true;
        let by_id = header.version >= 13;
        let topics = request.topics.iter().map(|topic| {
            if by_id {
                assert_eq!(topic.topic_id, topic_id(), "the client knows the topic's id");
            }
            let partitions = topic.partitions.iter().map(|wanted| {
                let index = wanted.partition as usize;
                let (leader, epoch) = self.leaders[index];
                let log = &self.logs[index];
                let mut data = PartitionData::default()
                    .with_partition_index(wanted.partition)
                    .with_high_watermark(log.end())
                    .with_last_stable_offset(log.end())
                    .with_log_start_offset(log.start())
                    .with_records(Some(Bytes::new()));
                data.error_code = match () {
                    () if leader != at => 6,
                    // -1: not told (before version 9).
                    () if wanted.current_leader_epoch >= 0 && wanted.current_leader_epoch < epoch => 74,
                    () if wanted.current_leader_epoch > epoch => 75,
                    () if wanted.fetch_offset < log.start() || wanted.fetch_offset > log.end() => 1,
                    () => 0,
                };
                if data.error_code == 0 {
                    data.records = Some(log.read(wanted.fetch_offset, wanted.partition_max_bytes as usize));
                }
                empty &= data.error_code == 0 && data.records.as_ref().is_none_or(Bytes::is_empty);
                data
            });
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions.collect())
        });
        (FetchResponse::default().with_responses(topics.collect()), empty)
    }

    fn answer(&mut self, at: usize, header: &RequestHeader, request: Request) -> Response {
        match request {
            Request::ApiVersions(_) => {
                let keys = Api::ALL.iter().map(|api| {
                    let range = api.versions();
                    let max = if *api == Api::Fetch { self.fetch_version_max } else { range.max };
                    ApiVersion::default()
                        .with_api_key(api.key())
                        .with_min_version(range.min)
                        .with_max_version(max)
                });
                Response::ApiVersions(ApiVersionsResponse::default().with_api_keys(keys.collect()))
            }
            Request::Metadata(request) => Response::Metadata(self.metadata(&request)),
            Request::InitProducerId(_) => {
                self.next_producer_id += 1;
                let id = ProducerId(self.next_producer_id);
                Response::InitProducerId(
                    InitProducerIdResponse::default().with_producer_id(id).with_producer_epoch(0),
                )
            }
            Request::ListOffsets(request) => Response::ListOffsets(self.list_offsets(at, &request)),
            Request::OffsetForLeaderEpoch(request) => {
                Response::OffsetForLeaderEpoch(self.end_of_epoch(at, &request))
            }
            other => panic!("the fake does not know {} v{}", other.api(), header.version),
        }
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let brokers = (0..self.brokers).map(|at| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(at as i32 + 1))
                .with_host(StrBytes::from_string(format!("broker-{}", at + 1)))
                .with_port(PORT.into())
        });
        let topics = request.topics.iter().flatten().map(|wanted| {
            let name = wanted.name.clone().expect("by name");
            let topic = MetadataResponseTopic::default().with_name(Some(name.clone()));
            if &*name.0 != TOPIC {
                return topic.with_error_code(3);
            }
            let partitions = self.leaders.iter().enumerate().map(|(index, (leader, epoch))| {
                MetadataResponsePartition::default()
                    .with_partition_index(index as i32)
                    .with_leader_id(BrokerId(*leader as i32 + 1))
                    .with_leader_epoch(*epoch)
            });
            topic.with_topic_id(topic_id()).with_partitions(partitions.collect())
        });
        MetadataResponse::default().with_brokers(brokers.collect()).with_topics(topics.collect())
    }

    fn list_offsets(&self, at: usize, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let index = wanted.partition_index as usize;
                let answer =
                    ListOffsetsPartitionResponse::default().with_partition_index(wanted.partition_index);
                if self.leaders[index].0 != at {
                    return answer.with_error_code(6);
                }
                let offset = match wanted.timestamp {
                    -2 => self.logs[index].start(),
                    -1 => self.logs[index].end(),
                    _ => -1,
                };
                answer.with_offset(offset)
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    fn end_of_epoch(&self, at: usize, request: &OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
        use offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let index = wanted.partition as usize;
                let answer = EpochEndOffset::default().with_partition(wanted.partition);
                if self.leaders[index].0 != at {
                    return answer.with_error_code(6);
                }
                let (epoch, end) = self.logs[index].end_of_epoch(wanted.leader_epoch);
                answer.with_leader_epoch(epoch).with_end_offset(end)
            });
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions.collect())
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }
}

fn topic_id() -> Uuid {
    Uuid::from_u128(77)
}
