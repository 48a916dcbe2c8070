//! The plan's workloads as drivers on client nodes.

use crate::failover::{self, Failover};
use crate::stage::{self, Stage};
use burnin_client::{
    Client, ClientConfig, ClientError, Compression, ConsumerConfig, OffsetReset, ProducerConfig,
};
use burnin_drivers::{
    AdminConfig, AdminOperation, AdminProgress, AdminTopic, AppendConfig, Pace, Part, PollConfig,
    ReaderProgress, Start, Stop, WriterProgress, administrate, append_unique, poll,
};
use burnin_history::{Acks, ConsumerId, ProducerId};
use burnin_runtime::Runtime;
use burnin_scenario::{
    AcksSetting, AdminOperation as AdminPlan, CheckKind, CompressionType, ConsumerPlan, Pace as PacePlan,
    Plan, ProducerPlan, Start as StartPlan, WorkloadAction,
};
use std::sync::Arc;
use std::time::Duration;

/// How long an administrator tries one operation, and how long one attempt may take.
pub(crate) const ADMIN_CALL: Duration = Duration::from_secs(15);
pub(crate) const ADMIN_REQUEST: Duration = Duration::from_secs(5);

type Driver<R> = <R as Runtime>::Task<Result<(), ClientError>>;

/// A producer of the plan.
pub(crate) struct Writer<R: Runtime> {
    /// As reports name it.
    pub name: String,
    pub progress: Arc<WriterProgress>,
    pub task: Driver<R>,
}

/// A reader of the plan.
pub(crate) struct Reader<R: Runtime> {
    /// As reports name it.
    pub name: String,
    pub progress: Arc<ReaderProgress>,
    pub task: Driver<R>,
}

/// An administrator of the plan.
pub(crate) struct Administrator<R: Runtime> {
    /// As reports name it.
    pub name: String,
    pub progress: Arc<AdminProgress>,
    pub task: R::Task<Vec<String>>,
}

/// Everything that runs on client nodes.
pub struct Workloads<R: Runtime> {
    pub(crate) writers: Vec<Writer<R>>,
    pub(crate) readers: Vec<Reader<R>>,
    pub(crate) administrators: Vec<Administrator<R>>,
    pub(crate) stop_administrators: Stop,
    /// Who watches for partitions without a leader, if the plan asks for it.
    pub(crate) failover: Option<R::Task<Failover>>,
    pub(crate) stop_watching: Stop,
    pub(crate) stop_writers: Stop,
    pub(crate) stop_readers: Stop,
    /// The reader of the final read comes after all others.
    pub(crate) next_consumer: ConsumerId,
    clients: Vec<Client<R>>,
}

impl<R: Runtime> Workloads<R> {
    /// Starts all of them.
    pub fn start(stage: &Stage<R>, plan: &Plan) -> Result<Workloads<R>, ClientError> {
        let mut workloads = Workloads {
            writers: Vec::new(),
            readers: Vec::new(),
            administrators: Vec::new(),
            stop_administrators: Stop::new(),
            failover: None,
            stop_watching: Stop::new(),
            stop_writers: Stop::new(),
            stop_readers: Stop::new(),
            next_consumer: ConsumerId(0),
            clients: Vec::new(),
        };
        let is_timed = plan.check.iter().any(|check| matches!(check.kind, CheckKind::Failover { .. }));
        if let (true, Some(watch)) = (is_timed, &stage.watch) {
            let runtime = stage.clients[0].clone();
            let watching = failover::watch(runtime.clone(), watch.clone(), workloads.stop_watching.clone());
            workloads.failover = Some(runtime.spawn("failover-watch", watching));
        }
        let mut turn = 0;
        for workload in &plan.workload {
            let parts = stage.topology.parts_of(&workload.topics);
            for number in 1..=workload.clients {
                let name = if workload.clients == 1 {
                    workload.id.clone()
                } else {
                    format!("{}-{number}", workload.id)
                };
                let runtime = &stage.clients[turn % stage.clients.len()];
                turn += 1;
                match &workload.kind {
                    WorkloadAction::AppendUnique { rate, records_per_batch, record_size, producer } => {
                        let records = records_per_batch.low() as u32..=records_per_batch.high() as u32;
                        let mean = f64::from(records.start() + records.end()) / 2.0;
                        let pace = match rate {
                            PacePlan::Open(rate) => {
                                Pace::Poisson(rate.per_second() / mean / f64::from(workload.clients))
                            }
                            PacePlan::Closed(calls) => Pace::Closed(*calls as usize),
                        };
                        let size = record_size.low().0 as usize..=record_size.high().0 as usize;
                        workloads.write(
                            stage,
                            plan,
                            runtime,
                            name,
                            parts.clone(),
                            (pace, records, size, producer),
                        )?;
                    }
                    WorkloadAction::Poll { start, reseek, list_offsets, consumer } => {
                        let every = (reseek.map(|dur| dur.std()), list_offsets.map(|dur| dur.std()));
                        workloads.read(stage, runtime, name, parts.clone(), (*start, every, consumer))?;
                    }
                    WorkloadAction::Admin { operations, every, throttle, config } => {
                        let config = AdminConfig {
                            name: name.clone(),
                            topics: admin_topics(stage, plan, &workload.topics),
                            brokers: (1..=plan.topology.brokers as i32).collect(),
                            operations: operations.iter().map(|one| admin_operation(*one)).collect(),
                            every: (every.low().std(), every.high().std()),
                            throttle: throttle.map(|size| size.0),
                            configs: config.clone(),
                            drain: patience(plan),
                        };
                        workloads.administrate(stage, runtime, name, config)?;
                    }
                }
            }
        }
        Ok(workloads)
    }

    fn write(
        &mut self,
        stage: &Stage<R>,
        plan: &Plan,
        runtime: &R,
        name: String,
        parts: Vec<Part>,
        (pace, records, value_bytes, producer): (
            Pace,
            std::ops::RangeInclusive<u32>,
            std::ops::RangeInclusive<usize>,
            &ProducerPlan,
        ),
    ) -> Result<(), ClientError> {
        let config = stage.client_config(&name, producer.request_timeout.std(), producer.retry_backoff.std());
        let client = Client::new(runtime.clone(), config)?;
        self.clients.push(client.clone());
        let progress = Arc::new(WriterProgress::new(parts.len()));
        let config = AppendConfig {
            run: plan.seed.0,
            records,
            value_bytes,
            producer: producer_config(producer),
            drain: plan.run.settle.std(),
            ..AppendConfig::new(ProducerId(self.writers.len() as u32), parts, pace)
        };
        let driver = append_unique(
            client,
            stage.recorder.clone(),
            config,
            vec![progress.clone()],
            self.stop_writers.clone(),
        );
        let task = runtime.spawn("writer", driver);
        self.writers.push(Writer { name, progress, task });
        Ok(())
    }

    fn administrate(
        &mut self,
        stage: &Stage<R>,
        runtime: &R,
        name: String,
        config: AdminConfig,
    ) -> Result<(), ClientError> {
        let client_config = ClientConfig {
            api_timeout: ADMIN_CALL,
            ..stage.client_config(&name, ADMIN_REQUEST, Duration::from_millis(100))
        };
        let client = Client::new(runtime.clone(), client_config)?;
        self.clients.push(client.clone());
        let progress = Arc::new(AdminProgress::default());
        let stop = self.stop_administrators.clone();
        let driver = administrate(client, stage.recorder.clone(), config, progress.clone(), stop);
        let task = runtime.spawn("administrator", driver);
        self.administrators.push(Administrator { name, progress, task });
        Ok(())
    }

    fn read(
        &mut self,
        stage: &Stage<R>,
        runtime: &R,
        name: String,
        parts: Vec<Part>,
        (start, (reseek, list_offsets), consumer): (
            StartPlan,
            (Option<Duration>, Option<Duration>),
            &ConsumerPlan,
        ),
    ) -> Result<(), ClientError> {
        let config = stage.client_config(&name, consumer.request_timeout.std(), Duration::from_millis(100));
        let client = Client::new(runtime.clone(), config)?;
        self.clients.push(client.clone());
        let progress = Arc::new(ReaderProgress::new(parts.len()));
        let config = PollConfig {
            start: match start {
                StartPlan::Earliest => Start::Earliest,
                StartPlan::Latest => Start::Latest,
                StartPlan::Random => Start::Random,
            },
            reseek,
            list_offsets,
            settings: consumer_config(consumer),
            ..PollConfig::new(self.next_consumer, parts)
        };
        self.next_consumer.0 += 1;
        let driver =
            poll(client, stage.recorder.clone(), config, progress.clone(), self.stop_readers.clone());
        let task = runtime.spawn("reader", driver);
        self.readers.push(Reader { name, progress, task });
        Ok(())
    }
}

/// How long things may take to recover once everything is healed.
pub(crate) fn patience(plan: &Plan) -> Duration {
    let within = plan.check.iter().find_map(|check| match check.kind {
        CheckKind::Progress { within } => Some(within.std()),
        _ => None,
    });
    within.unwrap_or(plan.run.settle.std())
}

fn admin_topics<R: Runtime>(stage: &Stage<R>, plan: &Plan, names: &[String]) -> Vec<AdminTopic> {
    let topics = plan.topology.topic.iter().filter(|topic| names.contains(&topic.name));
    let topics = topics.map(|topic| AdminTopic {
        topic: stage::new_topic(topic),
        parts: stage.topology.parts_of(&[&topic.name]),
    });
    topics.collect()
}

fn admin_operation(plan: AdminPlan) -> AdminOperation {
    match plan {
        AdminPlan::Reassign => AdminOperation::Reassign,
        AdminPlan::CancelReassignment => AdminOperation::CancelReassignment,
        AdminPlan::ElectPreferredLeader => AdminOperation::ElectPreferredLeader,
        AdminPlan::AlterTopicConfig => AdminOperation::AlterTopicConfig,
        AdminPlan::CreateTopic => AdminOperation::CreateTopic,
        AdminPlan::CreatePartitions => AdminOperation::CreatePartitions,
        AdminPlan::DeleteTopic => AdminOperation::DeleteTopic,
        AdminPlan::RecreateTopic => AdminOperation::RecreateTopic,
        AdminPlan::DescribeTopic => AdminOperation::DescribeTopic,
        AdminPlan::UpgradeFeatures => AdminOperation::UpgradeFeatures,
    }
}

fn producer_config(plan: &ProducerPlan) -> ProducerConfig {
    ProducerConfig {
        acks: match plan.acks {
            AcksSetting::None => Acks::None,
            AcksSetting::Leader => Acks::Leader,
            AcksSetting::All => Acks::All,
        },
        idempotence: plan.idempotent,
        compression: match plan.compression {
            CompressionType::None => Compression::None,
            CompressionType::Gzip => Compression::Gzip,
            CompressionType::Snappy => Compression::Snappy,
            CompressionType::Lz4 => Compression::Lz4,
            CompressionType::Zstd => Compression::Zstd,
        },
        linger: plan.linger.std(),
        batch_bytes: plan.batch_size as usize,
        in_flight_max: plan.max_in_flight as usize,
        delivery_timeout: plan.delivery_timeout.std(),
        broker_timeout: plan.request_timeout.std(),
        retries: plan.retries,
        ..ProducerConfig::default()
    }
}

fn consumer_config(plan: &ConsumerPlan) -> ConsumerConfig {
    ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        min_bytes: plan.fetch_min_bytes as i32,
        max_bytes: plan.fetch_max_bytes as i32,
        partition_max_bytes: plan.max_partition_fetch_bytes as i32,
        max_wait: plan.fetch_max_wait.std(),
        ..ConsumerConfig::default()
    }
}
