//! Operations of an administrator: topics that must exist, records that are deleted.

use crate::{Part, Recorder, Stop};
use burnin_client::{Admin, Client, ClientError, ErrorCode, NewTopic, PartitionRef};
use burnin_history::{Event, OffsetSpec};
use burnin_runtime::{Instant, Runtime};
use std::time::Duration;

/// Creates a topic, however often it takes, and waits until each of its partitions has a leader. That it
/// exists already is fine: an attempt whose answer was lost may have created it.
pub async fn ensure_topic<R: Runtime>(
    client: &Client<R>,
    topic: &NewTopic,
    until: Instant,
) -> Result<(), ClientError> {
    let runtime = client.runtime();
    let admin = Admin::new(client);
    let began = runtime.now();
    let give_up = |last: String| {
        let what = format!("to create topic {} and see its leaders", topic.name);
        Err(ClientError::TimedOut { what, waited_ms: runtime.now().since(began).as_millis(), last })
    };
    loop {
        match admin.create_topic(topic).await {
            Ok(_) => break,
            Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => break,
            Err(error @ ClientError::TimedOut { .. }) if runtime.now() >= until => {
                return give_up(error.to_string());
            }
            Err(ClientError::TimedOut { .. }) => {}
            // Too few brokers have come up so far.
            Err(error)
                if error.code() == Some(ErrorCode::INVALID_REPLICATION_FACTOR) && runtime.now() < until =>
            {
                runtime.sleep(client.config().retry_backoff.initial).await;
            }
            Err(error) => return Err(error),
        }
    }
    let reference = client.topic(&topic.name);
    loop {
        client.refresh_metadata().await?;
        let metadata = client.metadata();
        let info = metadata.topic(reference);
        let enough =
            !info.partitions.is_empty() && info.partitions.len() as i64 >= i64::from(topic.partitions);
        if info.error_code == Some(0) && enough && info.partitions.iter().all(|part| part.leader.is_some()) {
            return Ok(());
        }
        if runtime.now() >= until {
            return give_up(format!("the metadata shows {info:?}"));
        }
        runtime.sleep(client.config().retry_backoff.initial).await;
    }
}

/// A driver that deletes records.
#[derive(Clone, Debug)]
pub struct DeleteRecordsConfig {
    /// Where.
    pub partitions: Vec<Part>,
    /// How often, on average.
    pub every: Duration,
    /// At most this part of what is there, from 0 to 1.
    pub fraction_max: f64,
}

/// Deletes the beginning of a random partition now and then, until it is stopped.
pub async fn delete_records<R: Runtime>(
    client: Client<R>,
    recorder: Recorder<R>,
    config: DeleteRecordsConfig,
    stop: Stop,
) {
    let runtime = client.runtime().clone();
    let mut entropy = runtime.entropy("driver/delete-records");
    let parts: Vec<_> = config.partitions.iter().map(|part| (part.in_client(&client), part)).collect();
    loop {
        let wait = config.every.mul_f64(0.5 + entropy.unit());
        let (partition, part) = parts[entropy.below(parts.len() as u64) as usize];
        let fraction = entropy.unit() * config.fraction_max;
        tokio::select! {
            biased;
            () = stop.stopped() => return,
            () = async {
                runtime.sleep(wait).await;
                if let Err(error) = delete_some(&client, &recorder, partition, part, fraction).await {
                    tracing::debug!(%error, "nothing deleted");
                }
            } => {}
        }
    }
}

async fn delete_some<R: Runtime>(
    client: &Client<R>,
    recorder: &Recorder<R>,
    partition: PartitionRef,
    part: &Part,
    fraction: f64,
) -> Result<(), ClientError> {
    let admin = Admin::new(client);
    let start = admin.list_offset(partition, OffsetSpec::Earliest).await?.offset;
    let end = admin.list_offset(partition, OffsetSpec::Latest).await?.offset;
    let offset = start + ((end - start).max(0) as f64 * fraction) as i64;
    recorder.record(&Event::DeleteRecordsInvoked { tp: part.tp, offset });
    let log_start_offset = admin.delete_records(partition, offset).await?;
    recorder.record(&Event::RecordsDeleted { tp: part.tp, log_start_offset });
    Ok(())
}
