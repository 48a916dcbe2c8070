//! Readers by assignment: each reads its partitions without end, sometimes begins anew at a random offset, and
//! sometimes asks ListOffsets.

use crate::{Part, ReaderProgress, Recorder, Stop, seen};
use burnin_client::{
    Admin, Client, ClientError, Consumer, ConsumerConfig, ConsumerEvent, OffsetReset, PartitionRef, StartAt,
};
use burnin_history::{ConsumerId, Event, OffsetSpec, Seen};
use burnin_runtime::{Entropy, Instant, Runtime};
use std::sync::Arc;
use std::time::Duration;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the log start.
    Earliest,
    /// At the end.
    Latest,
    /// At an offset between them.
    Random,
}

/// A reader.
#[derive(Clone, Debug)]
pub struct PollConfig {
    /// Who it is in the history.
    pub consumer: ConsumerId,
    /// What it reads.
    pub partitions: Vec<Part>,
    /// Where it begins.
    pub start: Start,
    /// How often, on average, it begins anew in a random partition.
    pub reseek: Option<Duration>,
    /// How often, on average, it asks ListOffsets for a random partition: earliest, latest and a timestamp.
    pub list_offsets: Option<Duration>,
    /// How the consumer is set up. Offsets that do not exist are reset to the log start when this says none.
    pub settings: ConsumerConfig,
}

impl PollConfig {
    /// From the log start, and on and on.
    pub fn new(consumer: ConsumerId, partitions: Vec<Part>) -> Self {
        PollConfig {
            consumer,
            partitions,
            start: Start::Earliest,
            reseek: None,
            list_offsets: None,
            settings: ConsumerConfig { offset_reset: OffsetReset::Earliest, ..ConsumerConfig::default() },
        }
    }
}

/// What is known of a partition from fetches: where a jump can go.
#[derive(Clone, Copy, Default)]
struct Ends {
    start: i64,
    end: i64,
}

struct Reader<R: Runtime> {
    recorder: Recorder<R>,
    id: ConsumerId,
    parts: Vec<(PartitionRef, Part)>,
    ends: Vec<Ends>,
    progress: Arc<ReaderProgress>,
    seen: Vec<Seen>,
}

/// Reads until it is stopped. `progress` has one entry per partition of the configuration.
pub async fn poll<R: Runtime>(
    client: Client<R>,
    recorder: Recorder<R>,
    config: PollConfig,
    progress: Arc<ReaderProgress>,
    stop: Stop,
) -> Result<(), ClientError> {
    let runtime = client.runtime().clone();
    let mut entropy = runtime.entropy("driver/poll");
    let parts: Vec<_> =
        config.partitions.iter().map(|part| (part.in_client(&client), part.clone())).collect();
    let mut settings = config.settings.clone();
    if settings.offset_reset == OffsetReset::None {
        settings.offset_reset = OffsetReset::Earliest;
    }
    let _lister = config.list_offsets.map(|every| {
        let listing = list_offsets(client.clone(), recorder.clone(), parts.clone(), every);
        runtime.spawn("driver/list-offsets", listing)
    });
    let consumer = Consumer::new(&client, settings);
    let ends = vec![Ends::default(); parts.len()];
    let mut reader = Reader { recorder, id: config.consumer, parts, ends, progress, seen: Vec::new() };
    for at in 0..reader.parts.len() {
        let partition = reader.parts[at].0;
        match config.start {
            Start::Earliest => consumer.seek(partition, StartAt::Earliest),
            Start::Latest => consumer.seek(partition, StartAt::Latest),
            Start::Random => {
                reader.look_up_ends(&client, at, &stop).await;
                consumer.seek(partition, reader.somewhere(at, &mut entropy));
            }
        }
    }
    let mut reseek = runtime.sleep_until(next(&runtime, config.reseek, &mut entropy));
    loop {
        tokio::select! {
            biased;
            () = stop.stopped() => return Ok(()),
            () = &mut reseek, if config.reseek.is_some() => {
                let at = entropy.below(reader.parts.len() as u64) as usize;
                consumer.seek(reader.parts[at].0, reader.somewhere(at, &mut entropy));
                reseek = runtime.sleep_until(next(&runtime, config.reseek, &mut entropy));
            }
            event = consumer.next() => reader.take(event?),
        }
    }
}

/// When something that happens so often on average happens next.
fn next<R: Runtime>(runtime: &R, every: Option<Duration>, entropy: &mut Entropy) -> Instant {
    every.map_or(Instant::FAR_FUTURE, |every| {
        let seconds = every.as_secs_f64();
        runtime.now() + Duration::from_secs_f64(seconds * (0.5 + entropy.unit()))
    })
}

impl<R: Runtime> Reader<R> {
    /// Takes one event into the history.
    fn take(&mut self, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Positioned { partition, offset } => {
                let at = self.at(partition);
                self.progress.position(at, offset);
                let (consumer, tp) = (self.id, self.parts[at].1.tp);
                self.recorder.record(&Event::Positioned { consumer, tp, offset });
            }
            ConsumerEvent::Fetched(fetched) => {
                let at = self.at(fetched.partition);
                seen::take_apart(&fetched, &mut self.seen);
                self.ends[at] = Ends { start: fetched.log_start_offset.max(0), end: fetched.high_watermark };
                self.recorder.record(&Event::Polled {
                    consumer: self.id,
                    tp: self.parts[at].1.tp,
                    topic_id: fetched.topic_id.as_u128(),
                    fetch_offset: fetched.fetch_offset,
                    next_offset: fetched.next_offset,
                    log_start_offset: fetched.log_start_offset,
                    high_watermark: fetched.high_watermark,
                    records: &self.seen,
                });
                let (now, records) = (self.recorder.now(), self.seen.len() as u64);
                self.progress.read(now, at, fetched.next_offset, fetched.high_watermark, records);
            }
            ConsumerEvent::Refused { partition, code } => {
                tracing::debug!(?partition, %code, "refused");
                self.progress.refuse();
            }
            // What follows is a new position.
            ConsumerEvent::OutOfRange { .. } | ConsumerEvent::Truncated { .. } => {}
        }
    }

    fn at(&self, partition: PartitionRef) -> usize {
        self.parts
            .iter()
            .position(|(known, _)| *known == partition)
            .expect("only assigned partitions are fetched")
    }

    /// An offset that exists, as far as is known.
    fn somewhere(&self, at: usize, entropy: &mut Entropy) -> StartAt {
        let Ends { start, end } = self.ends[at];
        if end <= start {
            return StartAt::Earliest;
        }
        StartAt::Offset(entropy.between(start as u64, end as u64) as i64)
    }

    async fn look_up_ends(&mut self, client: &Client<R>, at: usize, stop: &Stop) {
        let admin = Admin::new(client);
        let partition = self.parts[at].0;
        let both = async {
            let start = admin.list_offset(partition, OffsetSpec::Earliest).await?.offset;
            let end = admin.list_offset(partition, OffsetSpec::Latest).await?.offset;
            Ok::<_, ClientError>(Ends { start, end })
        };
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            ends = both => if let Ok(ends) = ends { self.ends[at] = ends },
        }
    }
}

/// Asks ListOffsets now and then, until it is dropped.
async fn list_offsets<R: Runtime>(
    client: Client<R>,
    recorder: Recorder<R>,
    parts: Vec<(PartitionRef, Part)>,
    every: Duration,
) {
    let runtime = client.runtime().clone();
    let mut entropy = runtime.entropy("driver/list-offsets");
    let admin = Admin::new(&client);
    let began_ms = runtime.wall_ms();
    let mut turn = entropy.below(3);
    loop {
        runtime.sleep_until(next(&runtime, Some(every), &mut entropy)).await;
        let (partition, part) = &parts[entropy.below(parts.len() as u64) as usize];
        turn = (turn + 1) % 3;
        let spec = match turn {
            0 => OffsetSpec::Earliest,
            1 => OffsetSpec::Latest,
            _ => {
                let span = (runtime.wall_ms() - began_ms).max(0) as u64;
                OffsetSpec::Timestamp(began_ms + entropy.between(0, span) as i64)
            }
        };
        let invoked = recorder.now();
        match admin.list_offset(*partition, spec).await {
            Ok(listed) => recorder.record(&Event::OffsetsListed {
                tp: part.tp,
                spec,
                invoked,
                offset: listed.offset,
                timestamp: listed.timestamp,
            }),
            Err(error) => tracing::debug!(%error, "no offset"),
        }
    }
}
