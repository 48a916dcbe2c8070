//! The full re-read at the end: a new reader walks every partition from its log start to its end. What was
//! acknowledged and is not seen now is lost.

use crate::{Part, Recorder, seen};
use burnin_client::{
    Admin, Client, ClientError, Consumer, ConsumerConfig, ConsumerEvent, OffsetReset, PartitionRef, StartAt,
};
use burnin_history::{ConsumerId, Event, OffsetSpec, Tp};
use burnin_runtime::{Instant, Runtime, timeout};

/// A re-read.
#[derive(Clone, Debug)]
pub struct FinalReadConfig {
    /// Who it is in the history; a reader of its own.
    pub consumer: ConsumerId,
    /// What is read.
    pub partitions: Vec<Part>,
    /// What is not read by then has failed.
    pub until: Instant,
    /// How the consumer is set up.
    pub settings: ConsumerConfig,
}

impl FinalReadConfig {
    /// With a consumer's usual settings.
    pub fn new(consumer: ConsumerId, partitions: Vec<Part>, until: Instant) -> Self {
        let settings = ConsumerConfig { offset_reset: OffsetReset::Earliest, ..ConsumerConfig::default() };
        FinalReadConfig { consumer, partitions, until, settings }
    }
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalReadReport {
    /// Partitions that were read to their end.
    pub completed: usize,
    /// Those that were not, with the last error code (-1001: no answer).
    pub failed: Vec<(Tp, i16)>,
    /// Records that were read.
    pub records: u64,
}

/// No broker said why.
const NO_ANSWER: i16 = -1001;

struct Reading {
    partition: PartitionRef,
    tp: Tp,
    /// The end to reach: the high watermark when it was asked for.
    end: Option<i64>,
    began_at: Option<i64>,
    next: i64,
    last_error: i16,
    done: bool,
}

impl Reading {
    fn reached_end(&self) -> bool {
        !self.done && self.began_at.is_some() && self.end.is_some_and(|end| self.next >= end)
    }
}

/// Reads every partition to its end, however often it takes, until the time is up.
pub async fn final_read<R: Runtime>(
    client: Client<R>,
    recorder: Recorder<R>,
    config: FinalReadConfig,
) -> Result<FinalReadReport, ClientError> {
    let FinalReadConfig { consumer: id, partitions, until, settings } = config;
    let runtime = client.runtime().clone();
    recorder.record(&Event::FinalReadStarted { consumer: id });
    let mut report = FinalReadReport::default();
    let mut readings: Vec<Reading> = partitions
        .iter()
        .map(|part| Reading {
            partition: part.in_client(&client),
            tp: part.tp,
            end: None,
            began_at: None,
            next: -1,
            last_error: NO_ANSWER,
            done: false,
        })
        .collect();
    let read = async {
        let consumer = Consumer::new(&client, settings);
        for reading in &readings {
            consumer.seek(reading.partition, StartAt::Earliest);
        }
        for reading in &mut readings {
            reading.end = Some(end_of(&client, reading.partition).await);
        }
        let mut records = Vec::new();
        loop {
            for reading in readings.iter_mut().filter(|reading| reading.reached_end()) {
                // What was written while it was read belongs to it as well.
                let end = end_of(&client, reading.partition).await;
                if end > reading.next {
                    reading.end = Some(end);
                    continue;
                }
                reading.done = true;
                report.completed += 1;
                consumer.unassign(reading.partition);
                recorder.record(&Event::FinalReadCompleted {
                    consumer: id,
                    tp: reading.tp,
                    log_start_offset: reading.began_at.expect("it reached the end from somewhere"),
                    log_end_offset: reading.next,
                });
            }
            if readings.iter().all(|reading| reading.done) {
                return Ok(());
            }
            let event = consumer.next().await?;
            let of = |partition| move |reading: &&mut Reading| reading.partition == partition;
            match event {
                ConsumerEvent::Positioned { partition, offset } => {
                    let reading = readings.iter_mut().find(of(partition)).expect("an assigned partition");
                    reading.began_at = Some(offset);
                    reading.next = offset;
                    recorder.record(&Event::Positioned { consumer: id, tp: reading.tp, offset });
                }
                ConsumerEvent::Fetched(fetched) => {
                    let reading =
                        readings.iter_mut().find(of(fetched.partition)).expect("an assigned partition");
                    seen::take_apart(&fetched, &mut records);
                    reading.next = fetched.next_offset;
                    report.records += records.len() as u64;
                    recorder.record(&Event::Polled {
                        consumer: id,
                        tp: reading.tp,
                        topic_id: fetched.topic_id.as_u128(),
                        fetch_offset: fetched.fetch_offset,
                        next_offset: fetched.next_offset,
                        log_start_offset: fetched.log_start_offset,
                        high_watermark: fetched.high_watermark,
                        records: &records,
                    });
                }
                ConsumerEvent::Refused { partition, code } => {
                    let reading = readings.iter_mut().find(of(partition)).expect("an assigned partition");
                    reading.last_error = code.code();
                }
                // A new position follows.
                ConsumerEvent::OutOfRange { .. } | ConsumerEvent::Truncated { .. } => {}
            }
        }
    };
    let outcome: Option<Result<(), ClientError>> = timeout(&runtime, until.since(runtime.now()), read).await;
    if let Some(Err(error)) = outcome {
        return Err(error);
    }
    for reading in readings.iter().filter(|reading| !reading.done) {
        let error_code = reading.last_error;
        report.failed.push((reading.tp, error_code));
        recorder.record(&Event::FinalReadFailed { consumer: id, tp: reading.tp, error_code });
    }
    Ok(report)
}

/// The high watermark, however often it must be asked for.
async fn end_of<R: Runtime>(client: &Client<R>, partition: PartitionRef) -> i64 {
    let admin = Admin::new(client);
    loop {
        match admin.list_offset(partition, OffsetSpec::Latest).await {
            Ok(listed) => return listed.offset,
            Err(error) => {
                tracing::debug!(%error, "no end offset");
                client.runtime().sleep(client.config().retry_backoff.max).await;
            }
        }
    }
}
