//! Writers: each producer writes 0, 1, 2, ... to each of its partitions, as self-describing records, and goes
//! on with the next number whatever became of the one before.

use crate::{Part, Recorder, Stop, WriterProgress};
use burnin_client::{
    Client, ClientError, PartitionRef, Producer, ProducerConfig, ProducerEvent, ProducerObserver, RecordRef,
};
use burnin_history::{Event, NodeId, OpId, Outcome, Payload, ProducerId};
use burnin_runtime::{Entropy, Instant, Runtime};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// When the next operation begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many operations a second, evenly.
    Even(f64),
    /// So many operations a second on average, at random.
    Poisson(f64),
    /// As soon as fewer than so many are unfinished.
    Closed(usize),
}

/// A client with writers. All producers share its connections.
#[derive(Clone, Debug)]
pub struct AppendConfig {
    /// The run's number, for payloads.
    pub run: u64,
    /// One producer each.
    pub producers: Vec<ProducerId>,
    /// Where to; an operation goes to one of them, drawn at random.
    pub partitions: Vec<Part>,
    /// How often, over all producers.
    pub pace: Pace,
    /// Records of one operation, drawn each time.
    pub records: RangeInclusive<u32>,
    /// Bytes of a value, drawn each time; at least [`burnin_history::HEADER_BYTES`].
    pub value_bytes: RangeInclusive<usize>,
    /// Whether records have keys and headers too.
    pub keys_and_headers: bool,
    /// How producers are set up.
    pub producer: ProducerConfig,
    /// With more unfinished operations than this, none is begun: a broker that is away for long must not
    /// fill the memory.
    pub unfinished_max: usize,
    /// How long to wait, once stopped, for what is unfinished.
    pub drain: Duration,
}

impl AppendConfig {
    /// One producer, one record of 100 bytes at a time, Kafka's producer settings.
    pub fn new(producer: ProducerId, partitions: Vec<Part>, pace: Pace) -> Self {
        AppendConfig {
            run: 0,
            producers: vec![producer],
            partitions,
            pace,
            records: 1..=1,
            value_bytes: 100..=100,
            keys_and_headers: false,
            producer: ProducerConfig::default(),
            unfinished_max: 10_000,
            drain: Duration::from_secs(120),
        }
    }
}

/// Partitions of one writer that a token can name.
const PARTITION_BITS: u32 = 16;

/// Takes in how operations end.
struct Observer<R> {
    recorder: Recorder<R>,
    progress: Arc<WriterProgress>,
    unfinished: Arc<Unfinished>,
}

#[derive(Default)]
struct Unfinished {
    count: AtomicUsize,
    fewer: Notify,
}

impl<R: Runtime> ProducerObserver for Observer<R> {
    fn on_event(&self, event: ProducerEvent) {
        match event {
            ProducerEvent::Attempt { token, attempt, node, outcome, error_code } => {
                if attempt > 1 {
                    self.progress.retry();
                }
                let (op, node) = (OpId(token >> PARTITION_BITS), NodeId(node));
                self.recorder.record(&Event::ProduceAttempt { op, attempt, node, outcome, error_code });
            }
            ProducerEvent::Completed { token, outcome, base_offset, .. } => {
                let op = OpId(token >> PARTITION_BITS);
                self.recorder.record(&Event::ProduceCompleted { op, outcome, base_offset });
                let partition = (token & ((1 << PARTITION_BITS) - 1)) as usize;
                self.progress.complete(self.recorder.now(), partition, outcome);
                self.unfinished.count.fetch_sub(1, Ordering::AcqRel);
                self.unfinished.fewer.notify_one();
            }
        }
    }
}

/// One producer and where it is in each partition.
struct Writer<R: Runtime> {
    id: ProducerId,
    producer: Producer<R>,
    progress: Arc<WriterProgress>,
    next_seq: Vec<u64>,
}

/// Writes until it is stopped, then waits for what is unfinished. When it returns, every operation that it
/// began has ended. `progress` has one entry per producer of the configuration, for as many partitions.
pub async fn append_unique<R: Runtime>(
    client: Client<R>,
    recorder: Recorder<R>,
    config: AppendConfig,
    progress: Vec<Arc<WriterProgress>>,
    stop: Stop,
) -> Result<(), ClientError> {
    assert_eq!(progress.len(), config.producers.len(), "one progress counter per producer");
    assert!(config.partitions.len() < 1 << PARTITION_BITS, "{} partitions", config.partitions.len());
    assert!(!config.partitions.is_empty(), "nowhere to write to");
    let runtime = client.runtime().clone();
    let partitions: Vec<PartitionRef> =
        config.partitions.iter().map(|part| part.in_client(&client)).collect();
    let unfinished = Arc::new(Unfinished::default());
    let mut writers = Vec::new();
    for (id, progress) in config.producers.iter().zip(progress) {
        let observer = Observer {
            recorder: recorder.clone(),
            progress: progress.clone(),
            unfinished: unfinished.clone(),
        };
        let producer = Producer::new(&client, config.producer.clone(), Arc::new(observer))?;
        writers.push(Writer { id: *id, producer, progress, next_seq: vec![0; partitions.len()] });
    }
    let mut entropy = runtime.entropy("driver/append-unique");
    let mut scratch = Scratch::default();
    let mut next = runtime.now();
    let mut turn = 0;
    while !stop.is_stopped() {
        let limit = match config.pace {
            Pace::Closed(limit) => limit,
            Pace::Even(_) | Pace::Poisson(_) => config.unfinished_max,
        };
        if unfinished.count.load(Ordering::Acquire) >= limit {
            tokio::select! {
                biased;
                () = stop.stopped() => {}
                () = unfinished.fewer.notified() => {}
            }
            continue;
        }
        if let Some(wait_until) = tick(config.pace, &mut next, runtime.now(), &mut entropy) {
            tokio::select! {
                biased;
                () = stop.stopped() => break,
                () = runtime.sleep_until(wait_until) => {}
            }
        }
        let writer = &mut writers[turn];
        turn = (turn + 1) % config.producers.len();
        unfinished.count.fetch_add(1, Ordering::AcqRel);
        if !append(&runtime, &recorder, &config, &partitions, writer, &mut entropy, &mut scratch) {
            unfinished.count.fetch_sub(1, Ordering::AcqRel);
        }
    }
    for writer in &writers {
        writer.producer.close(config.drain).await;
    }
    Ok(())
}

/// When the next operation begins; `None`: at once.
fn tick(pace: Pace, next: &mut Instant, now: Instant, entropy: &mut Entropy) -> Option<Instant> {
    let gap = match pace {
        Pace::Closed(_) => return None,
        Pace::Even(per_second) => 1.0 / per_second,
        Pace::Poisson(per_second) => entropy.exponential(1.0 / per_second),
    };
    // After a pause the rate goes on; what was missed is not made up for.
    *next = (*next).max(now - Duration::from_millis(100)) + Duration::from_secs_f64(gap);
    (*next > now).then_some(*next)
}

/// Buffers that are kept from operation to operation.
#[derive(Default)]
struct Scratch {
    values: Vec<u8>,
    ends: Vec<usize>,
    keys: Vec<[u8; 8]>,
}

/// Begins one operation. `false`: the producer did not take it, and that was recorded.
fn append<R: Runtime>(
    runtime: &R,
    recorder: &Recorder<R>,
    config: &AppendConfig,
    partitions: &[PartitionRef],
    writer: &mut Writer<R>,
    entropy: &mut Entropy,
    scratch: &mut Scratch,
) -> bool {
    let at = entropy.below(partitions.len() as u64) as usize;
    let part = &config.partitions[at];
    let count = entropy.between((*config.records.start()).into(), (*config.records.end()).into()) as u32;
    let first_seq = writer.next_seq[at];
    writer.next_seq[at] += u64::from(count);
    scratch.values.clear();
    scratch.ends.clear();
    scratch.keys.clear();
    for seq in first_seq..first_seq + u64::from(count) {
        let size =
            entropy.between(*config.value_bytes.start() as u64, *config.value_bytes.end() as u64) as usize;
        let payload = Payload {
            run: config.run,
            producer: writer.id,
            topic_number: part.topic_number,
            partition: part.index,
            seq,
        };
        payload.encode_into(size, &mut scratch.values);
        scratch.ends.push(scratch.values.len());
        scratch.keys.push(seq.to_be_bytes());
    }
    let timestamp = runtime.wall_ms();
    let headers: [(&str, Option<&[u8]>); 2] = [("run", Some(b"burnin")), ("nothing", None)];
    let mut records = Vec::with_capacity(count as usize);
    let mut begin = 0;
    for (end, key) in scratch.ends.iter().zip(&scratch.keys) {
        let value = Some(&scratch.values[begin..*end]);
        begin = *end;
        records.push(match config.keys_and_headers {
            true => RecordRef { timestamp, key: Some(&key[..]), value, headers: &headers },
            false => RecordRef { timestamp, key: None, value, headers: &[] },
        });
    }
    let op = recorder.invoke(|op| Event::ProduceInvoked {
        op,
        producer: writer.id,
        tp: part.tp,
        first_seq,
        count,
        acks: config.producer.acks,
        idempotent: config.producer.idempotence,
    });
    writer.progress.invoke();
    let token = op.0 << PARTITION_BITS | at as u64;
    match writer.producer.send(partitions[at], token, &records) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "not taken");
            let outcome = Outcome::NotApplied;
            recorder.record(&Event::ProduceCompleted { op, outcome, base_offset: None });
            writer.progress.complete(recorder.now(), at, outcome);
            false
        }
    }
}
