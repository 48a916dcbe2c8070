//! Makes logs, roles and settings follow the metadata. States of a partition arrive in their order, and the id of its
//! topic decides which partition it is.

use super::Changes;
use super::partition::{Became, Partition};
use crate::partitions::{Topic, TopicInfo, log_config};
use crate::shared::Shared;
use burnin_core::config::TopicSettings;
use burnin_core::metadata::{METADATA_TOPIC, Partition as Metadata};
use burnin_log::{Log, LogError, TopicPartition};
use burnin_runtime::Runtime;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// So many logs are created at the same time: each waits for the disk several times.
const CREATED_AT_ONCE: usize = 32;

/// What the metadata say of a topic.
struct Wanted {
    name: String,
    settings: TopicSettings,
    partitions: BTreeMap<i32, Metadata>,
}

impl<R: Runtime> Shared<R> {
    /// Follows what was applied to the image. One call at a time, in the order of the metadata.
    ///
    /// Until the metadata hold the registration of this start they speak of an earlier life, in which this broker
    /// may have led what others lead by now: nothing is followed before.
    pub(crate) async fn follow(self: &Arc<Self>, changes: &Changes) -> Result<(), LogError> {
        let everything = Changes::everything();
        let mut changes = changes;
        let mut is_first = false;
        if !self.replication.has_begun.load(Ordering::Acquire) {
            if !self.is_registered() {
                return Ok(());
            }
            self.replication.has_begun.store(true, Ordering::Release);
            (changes, is_first) = (&everything, true);
        }
        if changes.is_empty() {
            return Ok(());
        }
        let (removed, touched) = self.concerned(changes);
        for id in removed {
            self.remove_topic(id).await?;
        }
        if changes.configs {
            // Whoever was replaced hears of that first: a smaller `min.insync.replicas` would let it commit once more.
            for (id, numbers) in self.led_elsewhere(changes) {
                self.follow_partitions(id, &numbers).await?;
            }
            // A leader learns settings before it learns a state.
            self.configure_topics();
        }
        for id in touched {
            self.host_topic(id).await?;
        }
        for (id, numbers) in &changes.partitions {
            if !changes.topics.contains(id) {
                self.follow_partitions(*id, numbers).await?;
            }
        }
        self.replication.fetchers.wake();
        if is_first {
            self.clear_strays().await?;
        }
        // Whoever had to wait for another's turn to join an ISR may not say anything again while nothing happens.
        if changes.brokers || changes.everything || self.leads_without_some(changes) {
            self.replication.brokers_changed.notify_one();
        }
        Ok(())
    }

    /// Partitions that changed, have a replica here, and are led by another broker or by nobody.
    fn led_elsewhere(&self, changes: &Changes) -> Vec<(Uuid, BTreeSet<i32>)> {
        let (image, table, me) = (self.image.read(), self.partitions.read(), self.identity.node_id);
        let hosted = table.topics().filter_map(|topic| image.topic_by_id(&topic.info.id));
        hosted
            .map(|topic| {
                let single = changes.partitions.get(&topic.id);
                let whole = changes.everything || changes.topics.contains(&topic.id);
                let changed = |number: &i32| whole || single.is_some_and(|numbers| numbers.contains(number));
                let elsewhere =
                    |partition: &Metadata| partition.leader != me && partition.replicas.contains(&me);
                let partitions = topic.partitions.iter();
                let partitions =
                    partitions.filter(|(number, partition)| changed(number) && elsewhere(partition));
                (topic.id, partitions.map(|(number, _)| *number).collect())
            })
            .filter(|(_, numbers): &(Uuid, BTreeSet<i32>)| !numbers.is_empty())
            .collect()
    }

    /// Whether a partition that changed is led from here, with replicas outside of its ISR.
    fn leads_without_some(&self, changes: &Changes) -> bool {
        let (image, me) = (self.image.read(), self.identity.node_id);
        let is_short =
            |partition: &Metadata| partition.leader == me && partition.isr.len() < partition.replicas.len();
        let whole = changes.topics.iter().filter_map(|id| image.topic_by_id(id));
        let single =
            changes.partitions.iter().filter_map(|(id, numbers)| Some((image.topic_by_id(id)?, numbers)));
        whole.flat_map(|topic| topic.partitions.values()).any(is_short)
            || single
                .flat_map(|(topic, numbers)| numbers.iter().filter_map(|number| topic.partitions.get(number)))
                .any(is_short)
    }

    /// Whether the metadata know this start of this broker.
    fn is_registered(&self) -> bool {
        let image = self.image.read();
        let known = image.brokers().get(&self.identity.node_id);
        known.is_some_and(|broker| broker.incarnation_id == self.lifecycle.incarnation_id)
    }

    /// Topics that went, and topics that may differ.
    fn concerned(&self, changes: &Changes) -> (Vec<Uuid>, Vec<Uuid>) {
        if !changes.everything {
            let removed = changes.removed_topics.iter().copied().collect();
            return (removed, changes.topics.iter().copied().collect());
        }
        let hosted: Vec<Uuid> = self.partitions.read().topics().map(|topic| topic.info.id).collect();
        let image = self.image.read();
        let gone = hosted.into_iter().filter(|id| image.topic_name(id).is_none()).collect();
        (gone, image.topics().values().map(|topic| topic.id).collect())
    }

    fn wanted(&self, id: &Uuid) -> Option<Wanted> {
        let image = self.image.read();
        let name = image.topic_name(id)?.to_owned();
        let topic = image.topic(&name).expect("ids and names agree");
        let me = self.identity.node_id;
        let ours = topic.partitions.iter().filter(|(_, metadata)| metadata.replicas.contains(&me));
        let partitions = ours.map(|(number, metadata)| (*number, metadata.clone())).collect();
        Some(Wanted { settings: self.topic_settings(&image, &name), name, partitions })
    }

    /// Changes the roles of partitions that stay here; where one comes or goes, the whole topic is looked at.
    async fn follow_partitions(self: &Arc<Self>, id: Uuid, numbers: &BTreeSet<i32>) -> Result<(), LogError> {
        let served = self.partitions.read().topic_by_id(&id);
        for number in numbers {
            let metadata = {
                let image = self.image.read();
                let known = image.topic_by_id(&id).and_then(|topic| topic.partitions.get(number));
                known.filter(|known| known.replicas.contains(&self.identity.node_id)).cloned()
            };
            let partition = served.as_ref().and_then(|topic| topic.partition(*number));
            match (partition, metadata) {
                (None, None) => {}
                (Some(partition), Some(metadata)) => {
                    let min_isr = partition.topic.settings().min_insync_replicas;
                    self.change_role(partition, &metadata, usize::try_from(min_isr).unwrap_or(1)).await;
                }
                _ => return self.host_topic(id).await,
            }
        }
        Ok(())
    }

    /// Makes the partitions of a topic what the metadata say: opens or creates their logs, changes their roles, and
    /// removes those that have moved away.
    async fn host_topic(self: &Arc<Self>, id: Uuid) -> Result<(), LogError> {
        let Some(wanted) = self.wanted(&id) else { return Ok(()) };
        let known = self.partitions.read().topic_by_id(&id);
        if known.is_none() && wanted.partitions.is_empty() {
            return Ok(());
        }
        let mut topic = match &known {
            Some(topic) => Topic::clone(topic),
            None => Topic::new(&wanted.name, TopicInfo::new(id, wanted.settings.clone())),
        };
        let mut fresh = Vec::new();
        for number in wanted.partitions.keys().filter(|number| topic.partition(**number).is_none()) {
            fresh.push(*number);
        }
        for numbers in fresh.chunks(CREATED_AT_ONCE) {
            let tps = numbers.iter().map(|number| TopicPartition::new(wanted.name.as_str(), *number));
            let tps: Vec<TopicPartition> = tps.collect();
            let logs = self.open_logs(&tps, id, &wanted.settings).await?;
            for ((number, tp), log) in numbers.iter().zip(tps).zip(logs) {
                let noted = self.noted_high_watermark(&tp).await?;
                let name = tp.to_string().into();
                let hub = self.replication.hub.clone();
                topic.put(*number, Partition::new(topic.info.clone(), *number, name, log, hub, noted));
            }
        }
        let leaving: Vec<i32> = topic
            .partitions()
            .map(|(number, _)| number)
            .filter(|number| !wanted.partitions.contains_key(number))
            .collect();
        let left: Vec<_> = leaving.iter().filter_map(|number| topic.take(*number)).collect();
        let min_isr = usize::try_from(wanted.settings.min_insync_replicas).unwrap_or(1);
        let current: Vec<_> =
            topic.partitions().map(|(number, partition)| (number, partition.clone())).collect();
        if !fresh.is_empty() || !left.is_empty() {
            self.partitions.write().put(topic);
        }
        for (number, partition) in current {
            self.change_role(&partition, &wanted.partitions[&number], min_isr).await;
        }
        for partition in left {
            // It was moved to other brokers, which have it all by now.
            self.retire(&partition, false).await;
            self.logs.delete(partition.log.topic_partition()).await?;
        }
        Ok(())
    }

    async fn change_role(
        self: &Arc<Self>,
        partition: &Arc<Partition<R>>,
        metadata: &Metadata,
        min_isr: usize,
    ) {
        let _surgery = partition.surgery.lock().await;
        match partition.update(metadata, min_isr) {
            Became::Same => {}
            Became::Leader => self.replication.fetchers.leave(&partition.key()),
            Became::Follower(leader, leader_epoch) => {
                self.replication.fetchers.assign(self, partition, leader, leader_epoch);
            }
        }
    }

    async fn retire(&self, partition: &Partition<R>, is_deleted: bool) {
        self.replication.fetchers.leave(&partition.key());
        let _surgery = partition.surgery.lock().await;
        partition.retire(is_deleted);
    }

    /// The logs of partitions: those that are there, unless they belong to another topic of that name.
    async fn open_logs(
        &self,
        tps: &[TopicPartition],
        id: Uuid,
        settings: &TopicSettings,
    ) -> Result<Vec<Log<R>>, LogError> {
        let mut found = BTreeMap::new();
        for tp in tps {
            let Some(log) = self.logs.log(tp) else { continue };
            if log.topic_id() == id || log.topic_id().is_nil() {
                log.set_config(log_config(settings));
                found.insert(tp.clone(), log);
                continue;
            }
            // Ids are never used again, so that topic is gone.
            tracing::info!(partition = %tp, topic_id = %log.topic_id(), "removes the log of a deleted topic");
            self.logs.delete(tp).await?;
        }
        let new: Vec<TopicPartition> = tps.iter().filter(|tp| !found.contains_key(tp)).cloned().collect();
        let created = self.logs.create_all(&new, id, &log_config(settings)).await?;
        found.extend(new.into_iter().zip(created));
        Ok(tps.iter().filter_map(|tp| found.remove(tp)).collect())
    }

    async fn remove_topic(&self, id: Uuid) -> Result<(), LogError> {
        let removed = self.partitions.write().remove(&id);
        let Some(topic) = removed else { return Ok(()) };
        for (_, partition) in topic.partitions() {
            self.retire(partition, true).await;
            self.logs.delete(partition.log.topic_partition()).await?;
        }
        Ok(())
    }

    /// Logs that this broker does not serve after it has followed everything: those of topics that were deleted while
    /// it was away are deleted; what the metadata do not account for is set aside for people to look at
    /// (`LogManager.isStrayKraftReplica`).
    async fn clear_strays(&self) -> Result<(), LogError> {
        for log in self.logs.logs() {
            let tp = log.topic_partition();
            if &*tp.topic == METADATA_TOPIC {
                continue;
            }
            let served = self.partitions.read().topic(&tp.topic).is_some_and(|topic| {
                topic.info.id == log.topic_id() && topic.partition(tp.partition).is_some()
            });
            let id = log.topic_id();
            if served || id.is_nil() {
                continue;
            }
            if self.image.read().was_removed(&id) {
                self.logs.delete(tp).await?;
            } else {
                tracing::warn!(partition = %tp, topic_id = %id, "sets a stray log aside: the metadata give this broker no such replica");
                self.logs.set_aside(tp).await?;
            }
        }
        Ok(())
    }

    /// Gives every topic the settings that hold now.
    fn configure_topics(&self) {
        let image = self.image.read();
        let table = self.partitions.read();
        for topic in table.topics() {
            table.configure(&topic.name, self.topic_settings(&image, &topic.name));
        }
        self.update_connection_limits(&image);
        self.update_throttles(&image);
    }
}
