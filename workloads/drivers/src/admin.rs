//! An administrator: one operation after the other, drawn from a list, with a pause before each. It moves partitions,
//! elects leaders, creates, deletes and re-creates topics, and alters their configuration.
//!
//! What it asks and what became of it goes into the history. A refusal is `NotApplied` only where no earlier attempt
//! of the same call can have taken effect; a call that was given up is `Maybe`.

mod describe;
mod recreate;
mod throttle;

pub use describe::{Described, describe_settled};

use crate::{Part, Recorder, Stop};
use burnin_client::{Admin, Client, ClientError, ConfigResource, ErrorCode, NewTopic};
use burnin_history::{Event, Outcome, TopicChange};
use burnin_runtime::{Entropy, Runtime, timeout};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use throttle::Throttle;
use uuid::Uuid;

/// So many topics that were deleted are asked for still.
const DELETED_MAX: usize = 8;

/// What an administrator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminOperation {
    /// Has a partition moved: a replica is added, removed or replaced, or the order changes.
    Reassign,
    /// Cancels a reassignment that is under way.
    CancelReassignment,
    /// Has the preferred replica of a partition lead it.
    ElectPreferredLeader,
    /// Sets a configuration of a topic, or puts it back.
    AlterTopicConfig,
    /// Creates a topic of its own.
    CreateTopic,
    /// Gives a topic of its own another partition.
    CreatePartitions,
    /// Deletes a topic of its own.
    DeleteTopic,
    /// Deletes a topic that is worked on, and creates it again.
    RecreateTopic,
    /// Asks a broker what it knows of a topic: its id, its partitions, its configuration.
    DescribeTopic,
    /// Raises every feature to what a broker supports. Nodes that do not are a reason to refuse it.
    UpgradeFeatures,
}

impl AdminOperation {
    /// As scenarios and histories name it.
    pub const fn name(self) -> &'static str {
        match self {
            AdminOperation::Reassign => "reassign",
            AdminOperation::CancelReassignment => "cancel-reassignment",
            AdminOperation::ElectPreferredLeader => "elect-preferred-leader",
            AdminOperation::AlterTopicConfig => "alter-topic-config",
            AdminOperation::CreateTopic => "create-topic",
            AdminOperation::CreatePartitions => "create-partitions",
            AdminOperation::DeleteTopic => "delete-topic",
            AdminOperation::RecreateTopic => "recreate-topic",
            AdminOperation::DescribeTopic => "describe-topic",
            AdminOperation::UpgradeFeatures => "upgrade-features",
        }
    }
}

/// A topic that an administrator works on.
#[derive(Clone, Debug)]
pub struct AdminTopic {
    /// How it was created, and is created again.
    pub topic: NewTopic,
    /// Its partitions.
    pub parts: Vec<Part>,
}

/// An administrator.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Topics that it creates have names that begin with this.
    pub name: String,
    /// What it works on.
    pub topics: Vec<AdminTopic>,
    /// The brokers that there are, by `node.id`.
    pub brokers: Vec<i32>,
    /// What it does; each time one of them is drawn.
    pub operations: Vec<AdminOperation>,
    /// How long it pauses after each: from, to.
    pub every: (Duration, Duration),
    /// Bytes a second that a reassignment may take.
    pub throttle: Option<u64>,
    /// Configurations that are set and put back.
    pub configs: BTreeMap<String, String>,
    /// How long, once it was told to stop, what it began may take.
    pub drain: Duration,
}

/// What an administrator did, by operation.
#[derive(Debug, Default)]
pub struct AdminProgress {
    applied: Mutex<BTreeMap<&'static str, u64>>,
    changed: Mutex<BTreeSet<String>>,
}

impl AdminProgress {
    /// How often each operation was carried out.
    pub fn applied(&self) -> BTreeMap<&'static str, u64> {
        self.applied.lock().clone()
    }

    /// The topics that it has asked to be changed.
    pub fn changed(&self) -> BTreeSet<String> {
        self.changed.lock().clone()
    }
}

/// An operation that was not carried out.
enum Failure {
    /// There was nothing to do it on.
    Nothing(&'static str),
    /// Somebody refused, or did not answer.
    Client(ClientError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Client(error)
    }
}

struct Administrator<R: Runtime> {
    runtime: R,
    admin: Admin<R>,
    recorder: Recorder<R>,
    config: AdminConfig,
    entropy: Entropy,
    progress: Arc<AdminProgress>,
    /// Topics of its own: name and number of partitions.
    own: Vec<(String, i32)>,
    /// The last ones that it has deleted.
    deleted: VecDeque<String>,
    /// How many it has created.
    created: u32,
    /// How many configurations it has set.
    set: u32,
    /// The ids of the topics that it re-creates, as far as they are known.
    ids: BTreeMap<String, Uuid>,
    throttle: Throttle,
}

/// Does one operation after the other until it is stopped, and then undoes its throttles and waits for its
/// reassignments. Gives what is not over when the time for that is.
pub async fn administrate<R: Runtime>(
    client: Client<R>,
    recorder: Recorder<R>,
    config: AdminConfig,
    progress: Arc<AdminProgress>,
    stop: Stop,
) -> Vec<String> {
    assert!(!config.topics.is_empty() && !config.operations.is_empty(), "nothing to do");
    let runtime = client.runtime().clone();
    let drain = config.drain;
    let mut administrator = Administrator {
        entropy: runtime.entropy("driver/admin"),
        admin: Admin::new(&client),
        runtime: runtime.clone(),
        recorder,
        throttle: Throttle::new(config.throttle),
        config,
        progress,
        own: Vec::new(),
        deleted: VecDeque::new(),
        created: 0,
        set: 0,
        ids: BTreeMap::new(),
    };
    let mut unfinished = None;
    while !stop.is_stopped() {
        let (low, high) = administrator.config.every;
        let pause = administrator.entropy.duration(low, high);
        tokio::select! {
            biased;
            () = stop.stopped() => break,
            () = runtime.sleep(pause) => {}
        }
        let at = administrator.entropy.below(administrator.config.operations.len() as u64) as usize;
        let operation = administrator.config.operations[at];
        let mut doing = Box::pin(administrator.carry_out(operation));
        tokio::select! {
            biased;
            () = &mut doing => continue,
            () = stop.stopped() => {}
        }
        // What was begun is brought to its end, so that it is known how it ended.
        if timeout(&runtime, drain, doing).await.is_none() {
            unfinished = Some(format!("{} is not over", operation.name()));
        }
    }
    let mut left = Vec::from_iter(unfinished);
    if timeout(&runtime, drain, administrator.settle()).await.is_none() {
        left.extend(administrator.under_way().await);
    }
    left
}

impl<R: Runtime> Administrator<R> {
    /// One operation, and what the history is told of it.
    async fn carry_out(&mut self, operation: AdminOperation) {
        let done = match operation {
            AdminOperation::Reassign => self.reassign().await,
            AdminOperation::CancelReassignment => self.cancel_reassignment().await,
            AdminOperation::ElectPreferredLeader => self.elect_preferred_leader().await,
            AdminOperation::AlterTopicConfig => self.alter_topic_config().await,
            AdminOperation::CreateTopic => self.create_topic().await,
            AdminOperation::CreatePartitions => self.create_partitions().await,
            AdminOperation::DeleteTopic => self.delete_topic().await,
            AdminOperation::RecreateTopic => self.recreate_topic().await,
            AdminOperation::DescribeTopic => self.describe_topic().await,
            AdminOperation::UpgradeFeatures => self.upgrade_features().await,
        };
        match done {
            Ok(()) => {}
            Err(Failure::Nothing(why)) => tracing::debug!(operation = operation.name(), why, "nothing to do"),
            Err(Failure::Client(error)) => {
                tracing::debug!(operation = operation.name(), %error, "not carried out");
            }
        }
    }

    /// Asks for something: it is in the history before, and how it ended is there when this returns.
    async fn ask<T>(
        &self,
        operation: AdminOperation,
        what: String,
        asking: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let kind = operation.name();
        let op = self.recorder.invoke(|op| Event::AdminInvoked { op, kind, what: &what });
        let answer = asking.await;
        let outcome = answer.as_ref().err().map_or(Outcome::Applied, outcome_of);
        let why = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
        self.recorder.record(&Event::AdminCompleted { op, kind, outcome, why: &why });
        if outcome == Outcome::Applied {
            *self.progress.applied.lock().entry(kind).or_default() += 1;
        }
        answer
    }

    /// Has a topic changed: that, too, is in the history before and after. `done` says what a success means, and the id
    /// of the topic that it created (0: none).
    async fn change<T>(
        &self,
        topic: &str,
        change: TopicChange<'_>,
        asking: impl Future<Output = Result<T, ClientError>>,
        done: impl Fn(&T) -> (Outcome, Uuid),
    ) -> Result<T, ClientError> {
        let op = self.recorder.invoke(|op| Event::TopicChangeInvoked { op, topic, change });
        self.progress.changed.lock().insert(topic.to_owned());
        let before = self.admin.open_attempts();
        let answer = asking.await;
        let repeats = self.admin.open_attempts() > before;
        let (outcome, id) = answer.as_ref().map_or_else(|error| (outcome_of(error), Uuid::nil()), done);
        let topic_id = id.as_u128();
        self.recorder.record(&Event::TopicChangeCompleted { op, outcome, topic_id, repeats });
        answer
    }

    fn draw_topic(&mut self) -> AdminTopic {
        let at = self.entropy.below(self.config.topics.len() as u64) as usize;
        self.config.topics[at].clone()
    }

    fn draw<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.entropy.below(of.len() as u64) as usize]) }
    }

    async fn reassign(&mut self) -> Result<(), Failure> {
        let AdminTopic { topic, .. } = self.draw_topic();
        let partitions = self.admin.describe_topic(None, &topic.name).await?.partitions;
        let index = self.entropy.below(partitions.len().max(1) as u64) as usize;
        let Some(now) = partitions.get(index) else { return Err(Failure::Nothing("no partition")) };
        let target = self.draw_replicas(&now.replicas, topic.replication_factor as usize);
        self.throttle.lift(&self.admin, &topic.name, index as i32, &now.replicas, &target).await?;
        let what = format!("{}-{index} from {:?} to {target:?}", topic.name, now.replicas);
        let asking = self.admin.reassign(&topic.name, index as i32, Some(&target));
        Ok(self.ask(AdminOperation::Reassign, what, asking).await?)
    }

    /// Other replicas than `now`: one more (if there is none too many yet), one less (if there is), one in place of
    /// another, or the same in another order.
    fn draw_replicas(&mut self, now: &[i32], replication_factor: usize) -> Vec<i32> {
        let mut target = now.to_vec();
        let others: Vec<i32> = self.config.brokers.iter().copied().filter(|id| !now.contains(id)).collect();
        let other = self.draw(&others);
        let leaving = self.entropy.below(now.len().max(1) as u64) as usize;
        match (self.entropy.below(4), other) {
            (0, Some(other)) if now.len() <= replication_factor => target.push(other),
            (0 | 1, _) if now.len() > replication_factor => drop(target.remove(leaving)),
            (0..=2, Some(other)) if !now.is_empty() => target[leaving] = other,
            _ => {
                let by = 1 + leaving;
                target.rotate_left(by % now.len().max(1));
            }
        }
        target
    }

    async fn cancel_reassignment(&mut self) -> Result<(), Failure> {
        let AdminTopic { topic, parts } = self.draw_topic();
        let numbers: Vec<i32> = parts.iter().map(|part| part.index).collect();
        let under_way = self.admin.reassignments(&topic.name, &numbers).await?;
        let numbers: Vec<i32> = under_way.iter().map(|one| one.partition).collect();
        let Some(number) = self.draw(&numbers) else { return Err(Failure::Nothing("nothing is under way")) };
        let asking = self.admin.reassign(&topic.name, number, None);
        let what = format!("{}-{number}", topic.name);
        Ok(self.ask(AdminOperation::CancelReassignment, what, asking).await?)
    }

    async fn elect_preferred_leader(&mut self) -> Result<(), Failure> {
        let AdminTopic { topic, parts } = self.draw_topic();
        let number = self.entropy.below(parts.len() as u64) as i32;
        let asking = self.admin.elect_preferred_leader(&topic.name, number);
        let what = format!("{}-{number}", topic.name);
        Ok(self.ask(AdminOperation::ElectPreferredLeader, what, asking).await?)
    }

    async fn upgrade_features(&mut self) -> Result<(), Failure> {
        let mut levels = self.admin.supported_features().await?;
        // Whether voters stand in the log is decided when directories are formatted.
        levels.retain(|(name, _)| name != "kraft.version");
        let what = format!("{levels:?}");
        let asking = self.admin.upgrade_features(&levels);
        Ok(self.ask(AdminOperation::UpgradeFeatures, what, asking).await?)
    }

    async fn alter_topic_config(&mut self) -> Result<(), Failure> {
        let AdminTopic { topic, .. } = self.draw_topic();
        let names: Vec<usize> = (0..self.config.configs.len()).collect();
        let Some(at) = self.draw(&names) else { return Err(Failure::Nothing("no config is given")) };
        let (name, value) = self.config.configs.iter().nth(at).expect("drawn from it");
        let before = topic.configs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let (name, value) = (name.clone(), value.clone());
        let value = if self.entropy.chance(0.5) { Some(self.numbered(&value)) } else { before };
        let value = value.as_deref();
        let what = format!("{} of {} to {}", name, topic.name, value.unwrap_or("its default"));
        let (resource, wanted) = (ConfigResource::Topic(topic.name.clone()), [(name.as_str(), value)]);
        let asking = self.admin.alter_configs(&resource, &wanted);
        let change = TopicChange::SetConfig { name: &name, value };
        let asking = self.change(&topic.name, change, asking, |()| (Outcome::Applied, Uuid::nil()));
        Ok(self.ask(AdminOperation::AlterTopicConfig, what, asking).await?)
    }

    /// With a number of its own in place of `#`, so that what a broker shows says which change it has seen.
    fn numbered(&mut self, value: &str) -> String {
        self.set += 1;
        value.replace('#', &self.set.to_string())
    }

    async fn create_topic(&mut self) -> Result<(), Failure> {
        let replication_factor = self.draw_topic().topic.replication_factor;
        self.created += 1;
        let name = format!("{}-{}", self.config.name, self.created);
        let partitions = self.entropy.between(1, 4) as i32;
        let topic = NewTopic { name: name.clone(), partitions, replication_factor, configs: Vec::new() };
        // Also one of which nobody can say whether it is there may be deleted later.
        self.own.push((name.clone(), partitions));
        let what = format!("{name} with {partitions} partitions");
        let change = TopicChange::Create { partitions: partitions as u32, configs: &[] };
        let asking =
            self.change(&name, change, self.admin.create_topic(&topic), |id| (Outcome::Applied, *id));
        self.ask(AdminOperation::CreateTopic, what, asking).await?;
        Ok(())
    }

    async fn create_partitions(&mut self) -> Result<(), Failure> {
        let at: Vec<usize> = (0..self.own.len()).collect();
        let Some(at) = self.draw(&at) else { return Err(Failure::Nothing("no topic of its own")) };
        self.own[at].1 += 1;
        let (name, count) = self.own[at].clone();
        let asking = self.admin.create_partitions(&name, count);
        let change = TopicChange::CreatePartitions { count: count as u32 };
        let asking = self.change(&name, change, asking, |()| (Outcome::Applied, Uuid::nil()));
        let what = format!("{name} to {count} partitions");
        Ok(self.ask(AdminOperation::CreatePartitions, what, asking).await?)
    }

    async fn delete_topic(&mut self) -> Result<(), Failure> {
        let at: Vec<usize> = (0..self.own.len()).collect();
        let Some(at) = self.draw(&at) else { return Err(Failure::Nothing("no topic of its own")) };
        let (name, _) = self.own.remove(at);
        self.deleted.push_back(name.clone());
        if self.deleted.len() > DELETED_MAX {
            self.deleted.pop_front();
        }
        let asking = self.admin.delete_topic(&name);
        let asking = self.change(&name, TopicChange::Delete, asking, |()| (Outcome::Applied, Uuid::nil()));
        Ok(self.ask(AdminOperation::DeleteTopic, name.clone(), asking).await?)
    }

    /// Undoes the throttles, and waits until nothing is under way.
    async fn settle(&mut self) {
        let pause = self.admin.retry_backoff();
        while self.throttle.undo(&self.admin).await.is_err() || !self.under_way().await.is_empty() {
            self.runtime.sleep(pause).await;
        }
    }

    /// Reassignments that are not over, in words.
    async fn under_way(&self) -> Vec<String> {
        let mut left = Vec::new();
        for AdminTopic { topic, parts } in &self.config.topics {
            let numbers: Vec<i32> = parts.iter().map(|part| part.index).collect();
            match self.admin.reassignments(&topic.name, &numbers).await {
                Ok(under_way) => left.extend(under_way.iter().map(|one| {
                    format!(
                        "the reassignment of {}-{} is not over: replicas {:?}, adding {:?}, removing {:?}",
                        one.topic, one.partition, one.replicas, one.adding, one.removing
                    )
                })),
                Err(error) => {
                    left.push(format!("the reassignments of {} are not known: {error}", topic.name))
                }
            }
        }
        left
    }
}

/// What a call that failed has done.
fn outcome_of(error: &ClientError) -> Outcome {
    /// What a broker also answers when it has asked the controller twice, and was heard the first time.
    const PERHAPS_DONE: [ErrorCode; 5] = [
        ErrorCode::TOPIC_ALREADY_EXISTS,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::NO_REASSIGNMENT_IN_PROGRESS,
        ErrorCode::INVALID_PARTITIONS,
        ErrorCode::ELECTION_NOT_NEEDED,
    ];
    match error {
        ClientError::Broker { maybe: false, code, .. } if !PERHAPS_DONE.contains(code) => Outcome::NotApplied,
        _ => Outcome::Maybe,
    }
}
