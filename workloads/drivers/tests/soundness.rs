//! What a producer says about its operations is held against what is truly in the logs of brokers that break
//! connections, answer late or never, refuse, doubt, and move leaders.

mod fake;

use burnin_client::{Backoff, Client, ClientConfig, Compression, ProducerConfig};
use burnin_drivers::*;
use burnin_engine::{NodeSpec, Sim, SimConfig};
use burnin_history::*;
use burnin_runtime::Runtime;
use fake::{Fake, Mischief, TOPIC, Truth};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Keeps what was asked and told.
#[derive(Default)]
struct Told {
    ops: BTreeMap<OpId, Op>,
    polled: BTreeMap<(ConsumerId, Tp), Vec<i64>>,
    positioned: u64,
    final_read: BTreeMap<Tp, (i64, i64)>,
    final_failed: u64,
}

struct Op {
    producer: ProducerId,
    tp: Tp,
    first_seq: u64,
    count: u32,
    attempts: Vec<Outcome>,
    end: Option<(Outcome, Option<i64>)>,
}

impl Sink for Told {
    fn record(&mut self, _at: Moment, event: &Event<'_>) {
        match event {
            Event::ProduceInvoked { op, producer, tp, first_seq, count, .. } => {
                let new = Op {
                    producer: *producer,
                    tp: *tp,
                    first_seq: *first_seq,
                    count: *count,
                    attempts: Vec::new(),
                    end: None,
                };
                assert!(self.ops.insert(*op, new).is_none());
            }
            Event::ProduceAttempt { op, attempt, outcome, .. } => {
                let op = self.ops.get_mut(op).expect("invoked");
                assert!(op.end.is_none(), "an attempt is told before the end");
                assert!(*attempt as usize > op.attempts.len(), "attempts are counted up");
                op.attempts.push(*outcome);
            }
            Event::ProduceCompleted { op, outcome, base_offset } => {
                let op = self.ops.get_mut(op).expect("invoked");
                assert!(op.end.replace((*outcome, *base_offset)).is_none(), "an operation ends once");
            }
            Event::Positioned { consumer, tp, .. } => {
                self.positioned += 1;
                self.polled.insert((*consumer, *tp), Vec::new());
            }
            Event::Polled { consumer, tp, fetch_offset, next_offset, records, .. } => {
                let all = self.polled.get_mut(&(*consumer, *tp)).expect("positioned first");
                for seen in *records {
                    assert!(seen.payload.is_ok(), "{seen:?}");
                    assert!(seen.offset >= *fetch_offset && seen.offset < *next_offset);
                    let last = all.last();
                    assert!(last.is_none_or(|last| last + 1 == seen.offset), "{last:?} then {seen:?}");
                    all.push(seen.offset);
                }
            }
            Event::FinalReadCompleted { tp, log_start_offset, log_end_offset, .. } => {
                self.final_read.insert(*tp, (*log_start_offset, *log_end_offset));
            }
            Event::FinalReadFailed { .. } => self.final_failed += 1,
            _ => {}
        }
    }
}

struct Setting {
    mischief: Mischief,
    producer: ProducerConfig,
    pace: Pace,
    records: std::ops::RangeInclusive<u32>,
    fetch_version_max: i16,
}

const PARTITIONS: usize = 3;

#[derive(Debug, Default, PartialEq)]
struct Counts {
    applied: usize,
    not_applied: usize,
    maybe: usize,
    retried: usize,
    duplicates: u64,
    trace: u64,
}

fn run(seed: u64, setting: &Setting) -> Counts {
    let mut sim = Sim::new(seed, SimConfig::default());
    let handle = sim.handle();
    let fake = Fake::start(&handle, 3, PARTITIONS);
    fake.world.lock().fetch_version_max = setting.fetch_version_max;
    let node = handle.add_node(NodeSpec::new("client", [10, 0, 1, 1]));
    let runtime = handle.runtime(node);
    let told: Arc<Mutex<Told>> = Arc::default();
    let recorder = Recorder::new(runtime.clone(), told.clone());
    let mut topology = Topology::new();
    topology.add_topic(TOPIC, PARTITIONS as i32, Flush::BeforeAck, 1);
    let idempotent = setting.producer.idempotence;
    let world = fake.world.clone();
    let bootstrap = fake.bootstrap();
    let (mischief, producer, pace, records) =
        (setting.mischief, setting.producer.clone(), setting.pace, setting.records.clone());
    sim.block_on(async move {
        topology.introduce(&recorder);
        let client_config = ClientConfig {
            request_timeout: Duration::from_secs(2),
            retry_backoff: Backoff { initial: Duration::from_millis(20), max: Duration::from_millis(200) },
            ..ClientConfig::new(bootstrap, "test")
        };
        let client = Client::connect(runtime.clone(), client_config).await.expect("connects");
        world.lock().mischief = mischief;
        let stop = Stop::new();
        let parts = topology.parts().to_vec();
        let append = AppendConfig {
            producers: vec![ProducerId(1), ProducerId(2)],
            records,
            producer,
            value_bytes: 40..=300,
            keys_and_headers: seed.is_multiple_of(2),
            ..AppendConfig::new(ProducerId(0), parts.clone(), pace)
        };
        let writers: Vec<_> = (0..2).map(|_| Arc::new(WriterProgress::new(PARTITIONS))).collect();
        let appending = runtime.spawn(
            "append",
            append_unique(client.clone(), recorder.clone(), append, writers.clone(), stop.clone()),
        );
        let reader = Arc::new(ReaderProgress::new(PARTITIONS));
        let poll_config = PollConfig {
            reseek: Some(Duration::from_secs(3)),
            list_offsets: Some(Duration::from_secs(1)),
            start: Start::Random,
            ..PollConfig::new(ConsumerId(0), parts.clone())
        };
        let polling = runtime
            .spawn("poll", poll(client.clone(), recorder.clone(), poll_config, reader.clone(), stop.clone()));
        runtime.sleep(Duration::from_secs(20)).await;
        world.lock().mischief = Mischief::default();
        let before: Vec<_> = writers.iter().map(|writer| writer.completed()).collect();
        runtime.sleep(Duration::from_secs(5)).await;
        for (writer, before) in writers.iter().zip(before) {
            assert!(writer.completed() > before, "a producer is stuck: {writer:?}");
        }
        stop.stop();
        appending.await.expect("no panic").expect("appends");
        polling.await.expect("no panic").expect("polls");
        for writer in &writers {
            assert_eq!(writer.invoked(), writer.completed(), "everything has ended");
        }
        assert!(reader.records() > 0, "the reader read nothing");
        let until = runtime.now() + Duration::from_secs(60);
        let config = FinalReadConfig::new(ConsumerId(9), parts.clone(), until);
        let report = final_read(client, recorder, config).await.expect("reads");
        assert_eq!((report.completed, report.failed.len()), (PARTITIONS, 0));
    })
    .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let trace = sim.trace().hash;
    let world = fake.world.lock();
    let truth: Vec<Truth> = world.logs.iter().map(|log| log.truth()).collect();
    let told = told.lock();
    let mut counts = Counts { trace, ..Counts::default() };
    for (tp, (start, end)) in &told.final_read {
        let log = &world.logs[tp.0 as usize];
        assert_eq!((*start, *end), (log.start(), log.end()), "seed {seed}: the final read saw everything");
        let offsets = &told.polled[&(ConsumerId(9), *tp)];
        assert_eq!(offsets.len() as i64, end - start, "seed {seed}");
    }
    // Last offset of the operations of a producer in a partition, in order of invocation.
    let mut order: BTreeMap<(ProducerId, Tp), i64> = BTreeMap::new();
    for (id, op) in &told.ops {
        let (outcome, base_offset) = op.end.unwrap_or_else(|| panic!("seed {seed}: {id} has no end"));
        let places: Vec<&[i64]> = (op.first_seq..op.first_seq + u64::from(op.count))
            .map(|seq| {
                truth[op.tp.0 as usize].get(&(op.producer.0, seq)).map_or(&[][..], |places| &places[..])
            })
            .collect();
        let applied = places[0].len();
        assert!(places.iter().all(|place| place.len() == applied), "seed {seed}: {id} was torn");
        match outcome {
            Outcome::Applied => {
                counts.applied += 1;
                assert!(applied >= 1, "seed {seed}: {id} was acknowledged and is not there");
                if let Some(base) = base_offset {
                    assert!(places[0].contains(&base), "seed {seed}: {id} is at {:?}, not {base}", places[0]);
                }
            }
            Outcome::NotApplied => {
                counts.not_applied += 1;
                assert_eq!(applied, 0, "seed {seed}: {id} was called not applied and is at {:?}", places[0]);
            }
            Outcome::Maybe => counts.maybe += 1,
        }
        counts.retried += usize::from(op.attempts.len() > 1);
        if idempotent {
            assert!(applied <= 1, "seed {seed}: {id} was appended {applied} times, at {:?}", places[0]);
            if let Some(place) = places[0].first() {
                let last = order.entry((op.producer, op.tp)).or_insert(-1);
                assert!(place > last, "seed {seed}: {id} is at {place}, behind a later one at {last}");
                *last = *place;
            }
        }
    }
    counts.duplicates = world.logs.iter().map(|log| log.duplicates).sum();
    counts
}

fn sweep(seeds: u64, setting: Setting) -> Counts {
    let mut sum = Counts::default();
    for seed in 0..seeds {
        let one = run(seed, &setting);
        sum.applied += one.applied;
        sum.not_applied += one.not_applied;
        sum.maybe += one.maybe;
        sum.retried += one.retried;
        sum.duplicates += one.duplicates;
    }
    println!("{sum:?}");
    sum
}

fn everything() -> Mischief {
    Mischief {
        drop_before: 0.03,
        drop_after: 0.03,
        late: 0.03,
        silent: 0.005,
        refuse: 0.05,
        doubt: 0.05,
        elect: 0.02,
        forget: 0.0,
    }
}

fn hasty() -> ProducerConfig {
    ProducerConfig { delivery_timeout: Duration::from_millis(400), ..ProducerConfig::default() }
}

#[test]
fn idempotent_producer_tells_the_truth() {
    let sum = sweep(
        60,
        Setting {
            mischief: everything(),
            producer: ProducerConfig::default(),
            pace: Pace::Poisson(100.0),
            records: 1..=1,
            fetch_version_max: 12,
        },
    );
    assert!(sum.applied > 50_000 && sum.retried > 1_000 && sum.duplicates > 100, "{sum:?}");
}

#[test]
fn idempotent_producer_that_gives_up_early_tells_the_truth() {
    let sum = sweep(
        6,
        Setting {
            mischief: everything(),
            producer: hasty(),
            pace: Pace::Closed(20),
            records: 1..=4,
            fetch_version_max: 17,
        },
    );
    assert!(sum.applied > 10_000 && sum.maybe > 100 && sum.not_applied > 100, "{sum:?}");
}

#[test]
fn lingering_compressed_batches_tell_the_truth() {
    for compression in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let producer = ProducerConfig { linger: Duration::from_millis(5), compression, ..hasty() };
        let (pace, records) = (Pace::Even(400.0), 1..=3);
        let sum =
            sweep(8, Setting { mischief: everything(), producer, pace, records, fetch_version_max: 12 });
        assert!(sum.applied > 5_000 && sum.maybe > 10, "{sum:?}");
    }
}

#[test]
fn plain_producers_tell_the_truth() {
    for acks in [Acks::None, Acks::Leader, Acks::All] {
        let producer = ProducerConfig { acks, idempotence: false, ..hasty() };
        let (pace, records) = (Pace::Poisson(100.0), 1..=2);
        let sum =
            sweep(20, Setting { mischief: everything(), producer, pace, records, fetch_version_max: 12 });
        match acks {
            Acks::None => assert!(sum.applied == 0 && sum.maybe > 10_000, "{sum:?}"),
            Acks::Leader | Acks::All => assert!(sum.applied > 10_000 && sum.maybe > 10, "{sum:?}"),
        }
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let setting = Setting {
        mischief: everything(),
        producer: hasty(),
        pace: Pace::Poisson(100.0),
        records: 1..=2,
        fetch_version_max: 12,
    };
    for seed in 0..4 {
        assert_eq!(run(seed, &setting), run(seed, &setting));
    }
}
