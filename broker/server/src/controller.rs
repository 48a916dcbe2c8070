//! The owner of the metadata log: decides, appends, waits until the records are durable, applies, and only then
//! answers. One task, one change at a time, so that each decision sees the outcome of the one before.
//!
//! A change is carried to its end even when the client that asked for it has gone: it runs here and not in the
//! connection. In this slice the log has one replica; a quorum will take the place of append and wait.

use crate::partitions::{Partition, Topic, TopicInfo, log_config};
use crate::shared::Shared;
use burnin_core::metadata::{ApiError, Image, encode_record};
use burnin_log::{Log, LogError, Origin, TopicPartition};
use burnin_runtime::Runtime;
use burnin_wire::ErrorCode;
use burnin_wire::batch::{BatchBuilder, BatchOptions};
use burnin_wire::metadata_records::MetadataRecord;
use bytes::BytesMut;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

type Done = Box<dyn FnOnce(Result<(), ApiError>) + Send>;
type Change = Box<dyn FnOnce(&Image) -> (Vec<MetadataRecord>, Done) + Send>;

/// Hands changes to the controller.
pub(crate) struct Controller {
    queue: mpsc::UnboundedSender<Change>,
}

/// Takes changes from the queue.
pub(crate) struct Queue(mpsc::UnboundedReceiver<Change>);

impl Controller {
    pub(crate) fn new() -> (Controller, Queue) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Controller { queue: sender }, Queue(receiver))
    }

    /// Makes a change: `decide` gives an answer and the records that make it true. The answer is given back when
    /// the records are durable and applied. Without records it is given back at once.
    pub(crate) async fn commit<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image) -> (T, Vec<MetadataRecord>) + Send + 'static,
    ) -> Result<T, ApiError> {
        let (sender, receiver) = oneshot::channel();
        let change: Change = Box::new(move |image| {
            let (answer, records) = decide(image);
            // Whoever asked may have gone meanwhile.
            let done: Done = Box::new(move |result| drop(sender.send(result.map(|()| answer))));
            (records, done)
        });
        let stopped = || ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, "the controller has stopped");
        self.queue.send(change).map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }
}

/// The writing end of the metadata log.
pub(crate) struct MetadataWriter<R: Runtime> {
    pub(crate) log: Log<R>,
    pub(crate) epoch: i32,
}

impl<R: Runtime> MetadataWriter<R> {
    /// Appends the records as one batch, which is applied as a whole or not at all, and waits until it is
    /// durable. Gives the offset of the first.
    pub(crate) async fn append(&self, now_ms: i64, records: &[MetadataRecord]) -> Result<i64, ApiError> {
        let offline = |error: String| ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, error);
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for record in records {
            builder.push(now_ms, None, Some(&encode_record(record)), &[]);
        }
        let batch = builder.build();
        let batch = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let appended = self
            .log
            .append(batch, self.epoch, Origin::Coordinator)
            .map_err(|error| offline(error.to_string()))?;
        self.log.wait_durable(appended.last_offset + 1).await.map_err(|error| offline(error.to_string()))?;
        Ok(appended.base_offset)
    }
}

/// The controller's task.
pub(crate) async fn run<R: Runtime>(shared: Arc<Shared<R>>, writer: MetadataWriter<R>, mut queue: Queue) {
    while let Some(change) = queue.0.recv().await {
        let (records, done) = change(&shared.image.read());
        let result = if records.is_empty() { Ok(()) } else { shared.make_true(&writer, &records).await };
        if let Err(error) = &result {
            tracing::error!(%error, "a metadata change failed");
        }
        done(result);
    }
}

impl<R: Runtime> Shared<R> {
    /// Appends records and applies them.
    pub(crate) async fn make_true(
        &self,
        writer: &MetadataWriter<R>,
        records: &[MetadataRecord],
    ) -> Result<(), ApiError> {
        let base = writer.append(self.runtime.wall_ms(), records).await?;
        {
            let mut image = self.image.write();
            for (offset, record) in (base..).zip(records) {
                image.apply(offset, record).unwrap_or_else(|error| panic!("own metadata record: {error}"));
            }
        }
        let storage = |error: LogError| ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string());
        self.follow(records).await.map_err(storage)
    }

    /// Makes logs and settings follow records that were applied.
    async fn follow(&self, records: &[MetadataRecord]) -> Result<(), LogError> {
        let mut touched: BTreeSet<Uuid> = BTreeSet::new();
        let (mut removed, mut reconfigured) = (Vec::new(), false);
        for record in records {
            match record {
                MetadataRecord::Topic(record) => drop(touched.insert(record.topic_id)),
                MetadataRecord::Partition(record) => drop(touched.insert(record.topic_id)),
                MetadataRecord::PartitionChange(record) => drop(touched.insert(record.topic_id)),
                MetadataRecord::RemoveTopic(record) => removed.push(record.topic_id),
                MetadataRecord::Config(_) => reconfigured = true,
                _ => {}
            }
        }
        for id in removed {
            self.remove_topic(id).await?;
        }
        for id in touched {
            self.host_topic(id).await?;
        }
        if reconfigured {
            self.configure_topics();
        }
        Ok(())
    }

    /// Opens or creates the logs of a topic's partitions, and serves them.
    pub(crate) async fn host_topic(&self, id: Uuid) -> Result<(), LogError> {
        let (name, partitions, settings) = {
            let image = self.image.read();
            let Some(name) = image.topic_name(&id).map(str::to_owned) else { return Ok(()) };
            let topic = image.topic(&name).expect("ids and names agree");
            let settings = self.topic_settings(&image, &name);
            (name, topic.partitions.clone(), settings)
        };
        let known = self.partitions.read().topic_by_id(&id);
        let info = match &known {
            Some(topic) => topic.info.clone(),
            None => TopicInfo::new(id, settings.clone()),
        };
        let mut topic = match known {
            Some(topic) => Topic::clone(&topic),
            None => Topic::new(&name, info.clone()),
        };
        for (number, metadata) in partitions {
            if !metadata.replicas.contains(&self.identity.node_id) {
                continue;
            }
            if topic.partition(number).is_none() {
                let tp = TopicPartition::new(name.as_str(), number);
                let log = self.open_log(tp, id, &settings).await?;
                topic.put(number, Partition::new(info.clone(), format!("{name}-{number}").into(), log));
            }
            topic.partition(number).expect("it was just put").update(&metadata);
        }
        self.partitions.write().put(topic);
        Ok(())
    }

    /// The log of a partition: the one that is there, unless it is left over from a deleted topic of that name.
    async fn open_log(
        &self,
        tp: TopicPartition,
        id: Uuid,
        settings: &burnin_core::config::TopicSettings,
    ) -> Result<Log<R>, LogError> {
        if let Some(log) = self.logs.log(&tp) {
            if log.topic_id() == id || log.topic_id().is_nil() {
                log.set_config(log_config(settings));
                return Ok(log);
            }
            self.logs.delete(&tp).await?;
        }
        self.logs.create(tp, id, log_config(settings)).await
    }

    async fn remove_topic(&self, id: Uuid) -> Result<(), LogError> {
        let removed = self.partitions.write().remove(&id);
        let Some(topic) = removed else { return Ok(()) };
        for (_, partition) in topic.partitions() {
            self.logs.delete(partition.log.topic_partition()).await?;
        }
        Ok(())
    }

    /// Gives every topic the settings that hold now.
    pub(crate) fn configure_topics(&self) {
        let image = self.image.read();
        let table = self.partitions.read();
        for topic in table.topics() {
            table.configure(&topic.name, self.topic_settings(&image, &topic.name));
        }
        self.update_connection_limits(&image);
    }
}
