//! The plan's workloads as drivers on client nodes.

use crate::world::World;
use burnin_client::{
    Backoff, Client, ClientConfig, ClientError, Compression, ConsumerConfig, OffsetReset, ProducerConfig,
};
use burnin_drivers::{
    AppendConfig, Pace, Part, PollConfig, ReaderProgress, Start, Stop, WriterProgress, append_unique, poll,
};
use burnin_engine::{SimNode, SimRuntime, SimTask};
use burnin_history::{Acks, ConsumerId, ProducerId};
use burnin_runtime::Runtime;
use burnin_scenario::{
    AcksSetting, CompressionType, ConsumerPlan, Plan, ProducerPlan, Start as StartPlan, WorkloadAction,
};
use std::sync::Arc;
use std::time::Duration;

type Driver = SimTask<Result<(), ClientError>>;

/// A producer of the plan.
pub(crate) struct Writer {
    /// As reports name it.
    pub name: String,
    pub progress: Arc<WriterProgress>,
    pub task: Driver,
}

/// A reader of the plan.
pub(crate) struct Reader {
    /// As reports name it.
    pub name: String,
    pub progress: Arc<ReaderProgress>,
    pub task: Driver,
}

/// Everything that runs on client nodes.
pub(crate) struct Workloads {
    pub writers: Vec<Writer>,
    pub readers: Vec<Reader>,
    pub stop_writers: Stop,
    pub stop_readers: Stop,
    /// The reader of the final read comes after all others.
    pub next_consumer: ConsumerId,
    clients: Vec<Client<SimRuntime>>,
}

impl Workloads {
    /// Starts all of them.
    pub fn start(world: &World, plan: &Plan) -> Result<Workloads, ClientError> {
        let mut workloads = Workloads {
            writers: Vec::new(),
            readers: Vec::new(),
            stop_writers: Stop::new(),
            stop_readers: Stop::new(),
            next_consumer: ConsumerId(0),
            clients: Vec::new(),
        };
        let mut turn = 0;
        for workload in &plan.workload {
            let parts = world.topology().parts_of(&workload.topics);
            for number in 1..=workload.clients {
                let name = if workload.clients == 1 {
                    workload.id.clone()
                } else {
                    format!("{}-{number}", workload.id)
                };
                let node = world.cast().clients[turn % world.cast().clients.len()];
                turn += 1;
                match &workload.kind {
                    WorkloadAction::AppendUnique { rate, records_per_batch, record_size, producer } => {
                        let records = records_per_batch.low() as u32..=records_per_batch.high() as u32;
                        let mean = f64::from(records.start() + records.end()) / 2.0;
                        let pace = Pace::Poisson(rate.per_second() / mean / f64::from(workload.clients));
                        let size = record_size.low().0 as usize..=record_size.high().0 as usize;
                        workloads.write(
                            world,
                            plan,
                            node,
                            name,
                            parts.clone(),
                            (pace, records, size, producer),
                        )?;
                    }
                    WorkloadAction::Poll { start, reseek, list_offsets, consumer } => {
                        let every = (reseek.map(|dur| dur.std()), list_offsets.map(|dur| dur.std()));
                        workloads.read(world, node, name, parts.clone(), (*start, every, consumer))?;
                    }
                }
            }
        }
        Ok(workloads)
    }

    fn write(
        &mut self,
        world: &World,
        plan: &Plan,
        node: SimNode,
        name: String,
        parts: Vec<Part>,
        (pace, records, value_bytes, producer): (
            Pace,
            std::ops::RangeInclusive<u32>,
            std::ops::RangeInclusive<usize>,
            &ProducerPlan,
        ),
    ) -> Result<(), ClientError> {
        let runtime = world.sim().runtime(node);
        let config =
            client_config(world, &name, producer.request_timeout.std(), producer.retry_backoff.std());
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
            world.recorder(),
            config,
            vec![progress.clone()],
            self.stop_writers.clone(),
        );
        let task = runtime.spawn("writer", driver);
        self.writers.push(Writer { name, progress, task });
        Ok(())
    }

    fn read(
        &mut self,
        world: &World,
        node: SimNode,
        name: String,
        parts: Vec<Part>,
        (start, (reseek, list_offsets), consumer): (
            StartPlan,
            (Option<Duration>, Option<Duration>),
            &ConsumerPlan,
        ),
    ) -> Result<(), ClientError> {
        let runtime = world.sim().runtime(node);
        let config = client_config(world, &name, consumer.request_timeout.std(), Duration::from_millis(100));
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
        let driver = poll(client, world.recorder(), config, progress.clone(), self.stop_readers.clone());
        let task = runtime.spawn("reader", driver);
        self.readers.push(Reader { name, progress, task });
        Ok(())
    }
}

/// A client with these timeouts.
pub(crate) fn client_config(
    world: &World,
    name: &str,
    request_timeout: Duration,
    retry_backoff: Duration,
) -> ClientConfig {
    ClientConfig {
        request_timeout,
        connect_timeout: request_timeout.min(Duration::from_secs(10)),
        retry_backoff: Backoff { initial: retry_backoff, max: retry_backoff.max(Duration::from_secs(1)) },
        answers: world.answers(),
        ..ClientConfig::new(world.bootstrap(), name)
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
