//! The drivers and the client against the broker itself, in a simulated world.

use burnin_client::{
    Admin, Backoff, Client, ClientConfig, ClientError, Compression, ConfigResource, Consumer, ConsumerConfig,
    ConsumerEvent, ErrorCode, NewTopic, OffsetReset, ProducerConfig, StartAt,
};
use burnin_drivers::*;
use burnin_engine::{NodeSpec, Sim, SimConfig, SimHandle, SimNode, SimRuntime};
use burnin_history::*;
use burnin_runtime::Runtime;
use burnin_server::{Broker, BrokerConfig};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Keeps acknowledgements and what the final read saw.
#[derive(Default)]
struct Told {
    ops: BTreeMap<OpId, (ProducerId, Tp, u64, u32)>,
    acked: Vec<(ProducerId, Tp, u64, u32, Option<i64>)>,
    refused: Vec<(ProducerId, Tp, u64, u32)>,
    read: BTreeMap<(Tp, i64), Payload>,
    final_reader: Option<ConsumerId>,
    polled: u64,
    listed: u64,
}

impl Sink for Told {
    fn record(&mut self, _at: Moment, event: &Event<'_>) {
        match event {
            Event::ProduceInvoked { op, producer, tp, first_seq, count, .. } => {
                self.ops.insert(*op, (*producer, *tp, *first_seq, *count));
            }
            Event::ProduceCompleted { op, outcome, base_offset } => {
                let (producer, tp, first_seq, count) = self.ops.remove(op).expect("ends once");
                match outcome {
                    Outcome::Applied => self.acked.push((producer, tp, first_seq, count, *base_offset)),
                    Outcome::NotApplied => self.refused.push((producer, tp, first_seq, count)),
                    Outcome::Maybe => {}
                }
            }
            Event::FinalReadStarted { consumer } => self.final_reader = Some(*consumer),
            Event::Polled { consumer, tp, records, .. } => {
                self.polled += records.len() as u64;
                if self.final_reader == Some(*consumer) {
                    for seen in *records {
                        let payload = seen.payload.expect("a payload of ours");
                        assert!(self.read.insert((*tp, seen.offset), payload).is_none());
                    }
                }
            }
            Event::OffsetsListed { .. } => self.listed += 1,
            _ => {}
        }
    }
}

impl Told {
    /// Everything acknowledged is there, at its offset; nothing that was refused is; nothing is there twice.
    fn check(&self) {
        let mut places: BTreeMap<(Tp, ProducerId, u64), i64> = BTreeMap::new();
        for ((tp, offset), payload) in &self.read {
            let other = places.insert((*tp, payload.producer, payload.seq), *offset);
            assert_eq!(other, None, "{payload:?} is at {offset} too");
        }
        for (producer, tp, first_seq, count, base_offset) in &self.acked {
            for at in 0..u64::from(*count) {
                let place = places.get(&(*tp, *producer, first_seq + at));
                let place = *place.unwrap_or_else(|| panic!("{producer} {tp} {} was lost", first_seq + at));
                assert!(base_offset.is_none_or(|base| base + at as i64 == place));
            }
        }
        for (producer, tp, first_seq, _) in &self.refused {
            assert_eq!(places.get(&(*tp, *producer, *first_seq)), None);
        }
    }
}

struct World {
    handle: SimHandle,
    server: SimNode,
    runtime: SimRuntime,
    told: Arc<Mutex<Told>>,
    recorder: Recorder<SimRuntime>,
}

impl World {
    fn client_config(&self) -> ClientConfig {
        ClientConfig {
            request_timeout: Duration::from_secs(2),
            api_timeout: Duration::from_secs(20),
            retry_backoff: Backoff { initial: Duration::from_millis(50), max: Duration::from_millis(500) },
            ..ClientConfig::new(["server:9092"], "test")
        }
    }

    async fn client(&self) -> Client<SimRuntime> {
        Client::connect(self.runtime.clone(), self.client_config()).await.expect("connects")
    }
}

fn broker_config() -> BrokerConfig {
    let set =
        |config: BrokerConfig, name: &str, value: &str| config.with(name, value).expect("a valid property");
    let config = set(BrokerConfig::default(), "listeners", "PLAINTEXT://10.0.0.1:9092");
    let config = set(config, "log.dirs", "/data");
    set(config, "auto.create.topics.enable", "false")
}

/// Runs `test` beside a broker that is started again whenever its node is.
fn in_world<F: Future<Output = ()> + 'static>(seed: u64, test: impl FnOnce(World) -> F) {
    let mut sim = Sim::new(seed, SimConfig::default());
    let handle = sim.handle();
    let server = handle.add_node(NodeSpec::new("server", [10, 0, 0, 1]).start(|runtime| async move {
        let broker = Broker::start(runtime, broker_config()).await.expect("the broker starts");
        broker.wait().await.expect("the broker stays well");
    }));
    handle.start(server).expect("a new node starts");
    let node = handle.add_node(NodeSpec::new("client", [10, 0, 1, 1]));
    let runtime = handle.runtime(node);
    let told: Arc<Mutex<Told>> = Arc::default();
    let recorder = Recorder::new(runtime.clone(), told.clone());
    let world = World { handle, server, runtime, told, recorder };
    sim.block_on(test(world)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

fn new_topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions, replication_factor: 1, configs: Vec::new() }
}

/// Creates a topic, writes and reads for `seconds`, with what `meanwhile` does, and reads everything again.
async fn workload(
    world: World,
    producer: ProducerConfig,
    pace: Pace,
    seconds: u64,
    meanwhile: impl AsyncFn(&World, Duration),
) -> World {
    let client = world.client().await;
    let until = world.runtime.now() + Duration::from_secs(60);
    ensure_topic(&client, &new_topic("orders", 3), until).await.expect("a topic");
    ensure_topic(&client, &new_topic("orders", 3), until).await.expect("it exists: fine");
    let mut topology = Topology::new();
    topology.add_topic("orders", 3, Flush::BeforeAck, 1);
    topology.introduce(&world.recorder);
    let (parts, stop) = (topology.parts().to_vec(), Stop::new());
    let append = AppendConfig {
        producers: vec![ProducerId(0), ProducerId(1)],
        records: 1..=3,
        value_bytes: 40..=2_000,
        keys_and_headers: true,
        producer,
        ..AppendConfig::new(ProducerId(0), parts.clone(), pace)
    };
    let writers: Vec<_> = (0..2).map(|_| Arc::new(WriterProgress::new(3))).collect();
    let appending =
        append_unique(client.clone(), world.recorder.clone(), append, writers.clone(), stop.clone());
    let appending = world.runtime.spawn("append", appending);
    let mut polling = Vec::new();
    for (id, start) in [Start::Earliest, Start::Latest, Start::Random].into_iter().enumerate() {
        let reader = Arc::new(ReaderProgress::new(3));
        let every = (id == 2).then_some(Duration::from_secs(1));
        let mut config = PollConfig {
            start,
            reseek: every,
            list_offsets: every,
            ..PollConfig::new(ConsumerId(id as u32), parts.clone())
        };
        config.settings.sessions = id != 0;
        let task = poll(client.clone(), world.recorder.clone(), config, reader.clone(), stop.clone());
        polling.push((world.runtime.spawn("poll", task), reader));
    }
    meanwhile(&world, Duration::from_secs(seconds)).await;
    stop.stop();
    appending.await.expect("no panic").expect("appends");
    for writer in &writers {
        assert!(writer.applied() > 0 && writer.completed() == writer.invoked(), "{writer:?}");
    }
    for (task, reader) in polling {
        task.await.expect("no panic").expect("polls");
        assert!(reader.records() > 0, "{reader:?}");
    }
    let until = world.runtime.now() + Duration::from_secs(60);
    let report =
        final_read(client, world.recorder.clone(), FinalReadConfig::new(ConsumerId(9), parts, until)).await;
    let report = report.expect("reads");
    assert_eq!((report.completed, &report.failed[..]), (3, &[][..]));
    assert_eq!(report.records, world.told.lock().read.len() as u64);
    world.told.lock().check();
    world
}

async fn only_wait(world: &World, time: Duration) {
    world.runtime.sleep(time).await;
}

#[test]
fn what_is_acknowledged_is_read_back_in_every_compression() {
    for (seed, compression) in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
            .into_iter()
            .enumerate()
    {
        in_world(seed as u64, async move |world| {
            let linger = Duration::from_millis(seed as u64 * 2);
            let producer = ProducerConfig { compression, linger, ..ProducerConfig::default() };
            let world = workload(world, producer, Pace::Even(300.0), 5, only_wait).await;
            let told = world.told.lock();
            assert!(told.acked.len() > 1_400 && told.refused.is_empty() && told.ops.is_empty());
            assert!(told.polled > 3_000 && told.listed > 1, "{} {}", told.polled, told.listed);
        });
    }
}

#[test]
fn every_kind_of_acknowledgement_works() {
    for (seed, acks) in [Acks::None, Acks::Leader, Acks::All].into_iter().enumerate() {
        in_world(seed as u64, async move |world| {
            let producer = ProducerConfig { acks, idempotence: false, ..ProducerConfig::default() };
            let client = world.client().await;
            let until = world.runtime.now() + Duration::from_secs(60);
            ensure_topic(&client, &new_topic("orders", 3), until).await.expect("a topic");
            let mut topology = Topology::new();
            topology.add_topic("orders", 3, Flush::BeforeAck, 1);
            let (parts, stop) = (topology.parts().to_vec(), Stop::new());
            let append = AppendConfig {
                producer,
                ..AppendConfig::new(ProducerId(0), parts.clone(), Pace::Even(100.0))
            };
            let writer = Arc::new(WriterProgress::new(3));
            let task = append_unique(
                client.clone(),
                world.recorder.clone(),
                append,
                vec![writer.clone()],
                stop.clone(),
            );
            let task = world.runtime.spawn("append", task);
            world.runtime.sleep(Duration::from_secs(5)).await;
            stop.stop();
            task.await.expect("no panic").expect("appends");
            let until = world.runtime.now() + Duration::from_secs(60);
            let config = FinalReadConfig::new(ConsumerId(9), parts, until);
            let report = final_read(client, world.recorder.clone(), config).await.expect("reads");
            assert_eq!(report.records, writer.invoked());
            match acks {
                Acks::None => assert_eq!((writer.applied(), writer.maybe()), (0, writer.invoked())),
                Acks::Leader | Acks::All => assert_eq!(writer.applied(), writer.invoked()),
            }
            world.told.lock().check();
        });
    }
}

#[test]
fn killed_and_cut_brokers_keep_what_they_acknowledged() {
    for seed in 0..12 {
        in_world(seed, async move |world| {
            let crashes = async |world: &World, time: Duration| {
                let end = world.runtime.now() + time;
                let mut entropy = world.handle.entropy("crashes");
                while world.runtime.now() < end {
                    let wait = entropy.duration(Duration::from_millis(200), Duration::from_secs(3));
                    world.runtime.sleep(wait).await;
                    match entropy.below(4) {
                        0 => drop(world.handle.net().reset_connections(world.server, world.runtime.node())),
                        1 => drop(world.handle.net().half_open(world.server, world.runtime.node())),
                        2 => world.handle.kill(world.server).expect("it is up"),
                        _ => drop(world.handle.power_loss(world.server).expect("it is up")),
                    }
                    if !world.handle.is_up(world.server) {
                        let down = entropy.duration(Duration::ZERO, Duration::from_secs(2));
                        world.runtime.sleep(down).await;
                        world.handle.start(world.server).expect("it is down");
                    }
                }
                world.runtime.sleep(Duration::from_secs(5)).await;
            };
            let world = workload(world, ProducerConfig::default(), Pace::Poisson(100.0), 20, crashes).await;
            assert!(world.told.lock().acked.len() > 500);
        });
    }
}

#[test]
fn admin_calls_do_what_they_say() {
    in_world(3, async move |world| {
        let client = world.client().await;
        let admin = Admin::new(&client);
        let until = world.runtime.now() + Duration::from_secs(60);
        let mut topic = new_topic("orders", 2);
        topic.configs.push(("segment.bytes".to_owned(), "65536".to_owned()));
        ensure_topic(&client, &topic, until).await.expect("a topic");
        let again = admin.create_topic(&topic).await.expect_err("it exists");
        assert_eq!(again.code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS), "{again}");
        assert!(again.to_string().contains("orders"), "{again}");

        admin.create_partitions("orders", 4).await.expect("more partitions");
        client.refresh_metadata().await.expect("metadata");
        assert_eq!(client.metadata().topic(client.topic("orders")).partitions.len(), 4);

        let resource = ConfigResource::Topic("orders".to_owned());
        let value = async |name: &str| {
            let entries = admin.describe_configs(&resource).await.expect("configs");
            entries.into_iter().find(|entry| entry.name == name).expect("known").value
        };
        assert_eq!(value("segment.bytes").await.as_deref(), Some("65536"));
        admin
            .alter_configs(&resource, &[("retention.ms", Some("1000")), ("segment.bytes", None)])
            .await
            .expect("alters");
        assert_eq!(value("retention.ms").await.as_deref(), Some("1000"));
        assert_ne!(value("segment.bytes").await.as_deref(), Some("65536"));
        let error =
            admin.alter_configs(&resource, &[("no.such.thing", Some("1"))]).await.expect_err("unknown");
        assert!(matches!(error, ClientError::Broker { .. }), "{error}");
        admin.alter_configs(&resource, &[("retention.ms", None)]).await.expect("alters");

        let cluster = admin.describe_cluster().await.expect("a cluster");
        assert_eq!(cluster.brokers.len(), 1);
        assert_eq!(Some(cluster.cluster_id), client.metadata().cluster_id);

        let mut topology = Topology::new();
        topology.add_topic("orders", 4, Flush::BeforeAck, 1);
        let (parts, stop) = (topology.parts().to_vec(), Stop::new());
        let writer = Arc::new(WriterProgress::new(1));
        let append = AppendConfig::new(ProducerId(0), parts[..1].to_vec(), Pace::Closed(4));
        let task =
            append_unique(client.clone(), world.recorder.clone(), append, vec![writer.clone()], stop.clone());
        let task = world.runtime.spawn("append", task);
        while writer.applied() < 100 {
            world.runtime.sleep(Duration::from_millis(10)).await;
        }
        stop.stop();
        task.await.expect("no panic").expect("appends");
        let partition = parts[0].in_client(&client);
        let end = admin.list_offset(partition, OffsetSpec::Latest).await.expect("listed").offset;
        assert_eq!(end as u64, writer.applied());
        assert_eq!(admin.list_offset(partition, OffsetSpec::Earliest).await.expect("listed").offset, 0);
        let first = admin.list_offset(partition, OffsetSpec::Timestamp(0)).await.expect("listed");
        assert!(first.offset == 0 && first.timestamp > 0, "{first:?}");
        assert_eq!(admin.delete_records(partition, 40).await.expect("deletes"), 40);
        assert_eq!(admin.list_offset(partition, OffsetSpec::Earliest).await.expect("listed").offset, 40);
        let error = admin.delete_records(partition, end + 1).await.expect_err("beyond the end");
        assert_eq!(error.code(), Some(ErrorCode::OFFSET_OUT_OF_RANGE), "{error}");

        // Offsets that no longer exist: reported, and with a policy reset.
        for (policy, expected) in
            [(OffsetReset::None, None), (OffsetReset::Earliest, Some(40)), (OffsetReset::Latest, Some(end))]
        {
            let consumer =
                Consumer::new(&client, ConsumerConfig { offset_reset: policy, ..ConsumerConfig::default() });
            consumer.seek(partition, StartAt::Offset(5));
            let mut seen = Vec::new();
            while seen.len() < if expected.is_some() { 3 } else { 2 } {
                match consumer.next().await.expect("an event") {
                    ConsumerEvent::Positioned { offset, .. } => seen.push(Some(offset)),
                    ConsumerEvent::OutOfRange { offset, .. } => {
                        assert_eq!(offset, 5);
                        seen.push(None);
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((seen[0], seen[1], seen.get(2).copied().flatten()), (Some(5), None, expected));
        }

        admin.delete_topic("orders").await.expect("deletes");
        let error = admin.delete_topic("orders").await.expect_err("gone");
        let code = error.code();
        let gone = matches!(error, ClientError::TimedOut { .. })
            || code == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert!(gone, "{error}");
    });
}

#[test]
fn records_are_deleted_under_readers() {
    in_world(5, async move |world| {
        let deleting = async |world: &World, time: Duration| {
            let client = world.client().await;
            let mut topology = Topology::new();
            topology.add_topic("orders", 3, Flush::BeforeAck, 1);
            let config = DeleteRecordsConfig {
                partitions: topology.parts().to_vec(),
                every: Duration::from_millis(700),
                fraction_max: 0.5,
            };
            let stop = Stop::new();
            let task = delete_records(client, world.recorder.clone(), config, stop.clone());
            let task = world.runtime.spawn("delete", task);
            world.runtime.sleep(time).await;
            stop.stop();
            task.await.expect("no panic");
        };
        let client = world.client().await;
        let until = world.runtime.now() + Duration::from_secs(60);
        ensure_topic(&client, &new_topic("orders", 3), until).await.expect("a topic");
        let mut topology = Topology::new();
        topology.add_topic("orders", 3, Flush::BeforeAck, 1);
        let (parts, stop) = (topology.parts().to_vec(), Stop::new());
        let append = AppendConfig::new(ProducerId(0), parts.clone(), Pace::Even(200.0));
        let writer = Arc::new(WriterProgress::new(3));
        let task = append_unique(client.clone(), world.recorder.clone(), append, vec![writer], stop.clone());
        let appending = world.runtime.spawn("append", task);
        let reader = Arc::new(ReaderProgress::new(3));
        let reading = PollConfig {
            start: Start::Random,
            reseek: Some(Duration::from_millis(300)),
            ..PollConfig::new(ConsumerId(0), parts.clone())
        };
        let task = poll(client.clone(), world.recorder.clone(), reading, reader.clone(), stop.clone());
        let polling = world.runtime.spawn("poll", task);
        deleting(&world, Duration::from_secs(10)).await;
        stop.stop();
        appending.await.expect("no panic").expect("appends");
        polling.await.expect("no panic").expect("polls");
        let until = world.runtime.now() + Duration::from_secs(60);
        let report =
            final_read(client, world.recorder.clone(), FinalReadConfig::new(ConsumerId(9), parts, until))
                .await;
        let report = report.expect("reads");
        assert_eq!((report.completed, &report.failed[..]), (3, &[][..]));
        let start =
            |tp| world.told.lock().read.keys().find(|(at, _)| *at == tp).map_or(0, |(_, offset)| *offset);
        assert!((0..3).any(|tp| start(Tp(tp)) > 0), "nothing was deleted");
    });
}
