//! A topic is deleted and created again under its name, while others write to it and read it.
//!
//! It is deleted by its id: a request that was thought lost and is carried out late does no harm to the new topic. The
//! history hears of the new one only when every broker that is up knows it: before, one of them may still take records
//! for the old.

use super::{AdminOperation, AdminTopic, Administrator, Failure};
use burnin_client::{ClientError, ErrorCode};
use burnin_history::{Event, Outcome, TopicChange};
use burnin_runtime::Runtime;
use uuid::Uuid;

impl<R: Runtime> Administrator<R> {
    pub(super) async fn recreate_topic(&mut self) -> Result<(), Failure> {
        let AdminTopic { topic, parts } = self.draw_topic();
        let old = match self.ids.get(&topic.name) {
            Some(id) => *id,
            // Nobody has deleted it so far: whoever knows one of this name knows this one.
            None => self.admin.describe_topic(None, &topic.name).await?.id,
        };
        for part in &parts {
            self.recorder.record(&Event::TopicDeletionInvoked { tp: part.tp });
        }
        let what = format!("{} with id {old}", topic.name);
        let done = self.ask(AdminOperation::RecreateTopic, what, async {
            // That there is none is the work of an earlier attempt, or of nobody.
            let deleted = |existed: &bool| match existed {
                true => (Outcome::Applied, Uuid::nil()),
                false => (Outcome::Maybe, Uuid::nil()),
            };
            loop {
                let change = TopicChange::DeleteId { topic_id: old.as_u128() };
                let asking = self.admin.delete_topic_by_id(old);
                match self.change(&topic.name, change, asking, deleted).await {
                    Ok(_) => break,
                    Err(error) => self.again(&error).await,
                }
            }
            loop {
                let partitions = topic.partitions as u32;
                let change = TopicChange::Create { partitions, configs: &topic.configs };
                let asking = self.admin.create_topic(&topic);
                match self.change(&topic.name, change, asking, |id| (Outcome::Applied, *id)).await {
                    Ok(_) => break,
                    // By an attempt that was thought lost; or a controller says so that was replaced and does not know
                    // yet that the old one is gone.
                    Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                        match self.admin.describe_topic(None, &topic.name).await {
                            Ok(known) if known.id != old => break,
                            _ => self.again(&error).await,
                        }
                    }
                    Err(error) => self.again(&error).await,
                }
            }
            Ok(self.known_everywhere(&topic.name, old).await)
        });
        let id = done.await?;
        self.ids.insert(topic.name.clone(), id);
        for part in &parts {
            self.recorder.record(&Event::TopicCreatedAgain { tp: part.tp, topic_id: id.as_u128() });
        }
        Ok(())
    }

    /// Waits until every broker that is up knows one and the same topic of this name, another than the old, and gives
    /// its id.
    async fn known_everywhere(&self, name: &str, old: Uuid) -> Uuid {
        loop {
            match self.known_to(name, old).await {
                Ok(Some(id)) => return id,
                Ok(None) => self.runtime.sleep(self.admin.retry_backoff()).await,
                Err(error) => self.again(&error).await,
            }
        }
    }

    async fn known_to(&self, name: &str, old: Uuid) -> Result<Option<Uuid>, ClientError> {
        let mut known = None;
        for broker in self.admin.describe_cluster().await?.brokers {
            let id = self.admin.describe_topic(Some(broker.node), name).await?.id;
            if id == old || known.is_some_and(|known| known != id) {
                return Ok(None);
            }
            known = Some(id);
        }
        Ok(known)
    }

    async fn again(&self, error: &ClientError) {
        tracing::debug!(%error, "tried again");
        self.runtime.sleep(self.admin.retry_backoff()).await;
    }
}
