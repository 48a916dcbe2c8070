//! What a consumer reports when leaders move, logs are cut, and records are gone.

mod fake;

use burnin_client::*;
use burnin_engine::{NodeSpec, Sim, SimConfig, SimRuntime};
use burnin_history::{Acks, Payload, ProducerId};
use burnin_runtime::timeout;
use fake::{Fake, TOPIC};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

struct Done(Semaphore);

impl ProducerObserver for Done {
    fn on_event(&self, event: ProducerEvent) {
        if let ProducerEvent::Completed { .. } = event {
            self.0.add_permits(1);
        }
    }
}

struct World {
    fake: Fake,
    runtime: SimRuntime,
    client: Client<SimRuntime>,
    producer: Producer<SimRuntime>,
    done: Arc<Done>,
    partition: PartitionRef,
    next_seq: u64,
}

impl World {
    /// Appends so many records, a batch each.
    async fn append(&mut self, count: u64) {
        for seq in self.next_seq..self.next_seq + count {
            let mut value = Vec::new();
            Payload { run: 0, producer: ProducerId(0), topic_number: 0, partition: 0, seq }
                .encode_into(0, &mut value);
            let record = RecordRef { timestamp: 0, key: None, value: Some(&value), headers: &[] };
            self.producer.send(self.partition, seq, &[record]).expect("taken");
            self.done.0.acquire().await.expect("open").forget();
        }
        self.next_seq += count;
    }

    fn consumer(&self, offset_reset: OffsetReset) -> Consumer<SimRuntime> {
        Consumer::new(&self.client, ConsumerConfig { offset_reset, ..ConsumerConfig::default() })
    }

    /// The next event that is no refusal (leaders move) and no mere news of the log's ends.
    async fn next(&self, consumer: &Consumer<SimRuntime>) -> ConsumerEvent {
        loop {
            let event = timeout(&self.runtime, Duration::from_secs(60), consumer.next())
                .await
                .expect("an event comes");
            match event.expect("the client is open") {
                ConsumerEvent::Refused { .. } => {}
                ConsumerEvent::Fetched(fetched) if fetched.is_empty() => {}
                event => return event,
            }
        }
    }

    /// Reads until `end`: the offsets.
    async fn read_to(&self, consumer: &Consumer<SimRuntime>, end: i64) -> Vec<i64> {
        let mut offsets = Vec::new();
        while offsets.last() != Some(&(end - 1)) {
            match self.next(consumer).await {
                ConsumerEvent::Fetched(fetched) => {
                    fetched.for_each(|_, record| offsets.push(record.expect("readable").offset));
                }
                other => panic!("{other:?} after {offsets:?}"),
            }
        }
        offsets
    }
}

fn in_world<F: Future<Output = ()> + 'static>(test: impl Fn(World) -> F + Clone + 'static) {
    for (seed, fetch_version_max) in [(0, 12), (1, 17), (2, 4), (3, 13)] {
        let mut sim =
            Sim::new(seed, SimConfig { time_max: Duration::from_secs(600), ..SimConfig::default() });
        let handle = sim.handle();
        let fake = Fake::start(&handle, 3, 1);
        fake.world.lock().fetch_version_max = fetch_version_max;
        let node = handle.add_node(NodeSpec::new("client", [10, 0, 1, 1]));
        let runtime = handle.runtime(node);
        let test = test.clone();
        let result = sim.block_on(async move {
            let config = ClientConfig::new(fake.bootstrap(), "test");
            let client = Client::connect(runtime.clone(), config).await.expect("connects");
            let partition = client.partition(TOPIC, 0);
            let done = Arc::new(Done(Semaphore::new(0)));
            let config = ProducerConfig { acks: Acks::All, ..ProducerConfig::default() };
            let producer = Producer::new(&client, config, done.clone()).expect("a producer");
            test(World { fake, runtime, client, producer, done, partition, next_seq: 0 }).await;
        });
        result.unwrap_or_else(|error| panic!("seed {seed}, fetch up to {fetch_version_max}: {error}"));
    }
}

fn positioned(event: &ConsumerEvent) -> i64 {
    match event {
        ConsumerEvent::Positioned { offset, .. } => *offset,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reader_follows_the_leader_without_gap_or_repetition() {
    in_world(async |mut world: World| {
        let consumer = world.consumer(OffsetReset::None);
        consumer.seek(world.partition, StartAt::Earliest);
        assert_eq!(positioned(&world.next(&consumer).await), 0);
        for round in 1..=5 {
            world.append(10).await;
            let end = round * 10;
            assert_eq!(world.read_to(&consumer, end).await, (end - 10..end).collect::<Vec<_>>());
            world.fake.world.lock().elect(0);
        }
        assert_eq!(consumer.position(world.partition), Some(50));
    });
}

#[test]
fn truncated_log_is_reported_and_read_from_where_it_parts() {
    in_world(async |mut world: World| {
        world.append(5).await;
        world.fake.world.lock().elect(0);
        world.append(5).await;
        let consumers = [OffsetReset::None, OffsetReset::Earliest].map(|reset| world.consumer(reset));
        for consumer in &consumers {
            consumer.seek(world.partition, StartAt::Offset(2));
            assert_eq!(positioned(&world.next(consumer).await), 2);
            world.read_to(consumer, 10).await;
        }
        {
            // A leader that never saw the last three, and wrote others since.
            let mut truth = world.fake.world.lock();
            truth.logs[0].truncate_to(7);
            truth.logs[0].forget();
            truth.elect(0);
        }
        world.append(6).await;
        for (at, consumer) in consumers.iter().enumerate() {
            match world.next(consumer).await {
                ConsumerEvent::Truncated { position, end_offset, .. } => {
                    assert_eq!((position, end_offset), (10, Some(7)));
                }
                other => panic!("{other:?}"),
            }
            if at == 1 {
                assert_eq!(positioned(&world.next(consumer).await), 7);
                assert_eq!(world.read_to(consumer, 13).await, (7..13).collect::<Vec<_>>());
            } else {
                let more = timeout(&world.runtime, Duration::from_secs(5), consumer.next()).await;
                assert!(more.is_none(), "the partition is not read until the next seek: {more:?}");
            }
        }
    });
}

#[test]
fn reader_starts_where_it_is_told() {
    in_world(async |mut world: World| {
        world.append(10).await;
        world.fake.world.lock().logs[0].delete_before(4);
        let consumer = world.consumer(OffsetReset::Earliest);
        for (start, expected) in [
            (StartAt::Earliest, 4),
            (StartAt::Latest, 10),
            (StartAt::Offset(7), 7),
            (StartAt::Timestamp(5), 10),
        ] {
            consumer.seek(world.partition, start);
            assert_eq!(positioned(&world.next(&consumer).await), expected, "{start:?}");
        }
        for gone in [3, 99] {
            consumer.seek(world.partition, StartAt::Offset(gone));
            assert_eq!(positioned(&world.next(&consumer).await), gone);
            let event = world.next(&consumer).await;
            assert!(matches!(event, ConsumerEvent::OutOfRange { offset, .. } if offset == gone), "{event:?}");
            assert_eq!(positioned(&world.next(&consumer).await), 4);
        }
        assert_eq!(world.read_to(&consumer, 10).await, (4..10).collect::<Vec<_>>());
        consumer.unassign(world.partition);
        world.append(1).await;
        let more = timeout(&world.runtime, Duration::from_secs(5), consumer.next()).await;
        assert!(more.is_none(), "{more:?}");
    });
}
