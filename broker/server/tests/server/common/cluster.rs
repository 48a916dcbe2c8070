//! Several brokers in the simulator, each a voter of the quorum as well, and somebody who talks to all of them.

use super::peer::Peer;
use super::requests::*;
use burnin_engine::{NodeSpec, SimHandle, SimNode, SimRuntime};
use burnin_engine::{Sim, SimConfig};
use burnin_runtime::{Observation, Probe, ProbeSink, Runtime, timeout};
use burnin_server::{Broker, BrokerConfig};
use burnin_wire::kafka::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopicConfig};
use burnin_wire::kafka::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use burnin_wire::kafka::messages::produce_response::PartitionProduceResponse;
use burnin_wire::kafka::messages::{BrokerId, MetadataResponse};
use burnin_wire::{ErrorCode, Response};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the cluster may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Everything that the brokers observe, in order, with the number of the broker.
#[derive(Default)]
pub struct Observed(pub Mutex<Vec<(usize, Observation)>>);

struct Sink(usize, Arc<Observed>);

impl ProbeSink for Sink {
    fn observe(&self, observation: Observation) {
        self.1.0.lock().unwrap().push((self.0, observation));
    }
}

pub struct Cluster {
    pub handle: SimHandle,
    pub nodes: Vec<SimNode>,
    pub client: SimRuntime,
    pub observed: Arc<Observed>,
    configs: Vec<BrokerConfig>,
    brokers: Vec<Option<Broker<SimRuntime>>>,
}

/// What the metadata say of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
}

/// Runs `test` with a cluster of `count` brokers, for a few seeds.
pub fn in_cluster<F: Future<Output = ()> + 'static>(
    count: usize,
    settings: &'static str,
    test: impl Fn(Cluster) -> F + Clone + 'static,
) {
    for seed in 0..3 {
        let test = test.clone();
        let mut sim = Sim::new(seed, SimConfig::default());
        let handle = sim.handle();
        let work = async move { test(Cluster::start(handle, count, settings).await).await };
        if let Err(error) = sim.block_on(work) {
            panic!("seed {seed}: {error}");
        }
    }
}

/// A check that failed says what the brokers did.
impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let is_dull = |observation: &Observation| {
            matches!(observation, Observation::FlushDone { .. } | Observation::BatchAppended { .. })
        };
        for (number, observation) in self.observed.0.lock().unwrap().iter().filter(|(_, o)| !is_dull(o)) {
            eprintln!("broker {}: {observation:?}", number + 1);
        }
    }
}

impl Cluster {
    async fn start(handle: SimHandle, count: usize, settings: &str) -> Cluster {
        let address = |number: usize| [10, 0, 0, number as u8 + 1];
        let name = |number: usize| format!("broker{}", number + 1);
        let observed = Arc::new(Observed::default());
        let spec = |number: usize| {
            let sink: Arc<dyn ProbeSink> = Arc::new(Sink(number, observed.clone()));
            NodeSpec { probe: Probe::to(sink), ..NodeSpec::new(name(number), address(number)) }
        };
        let nodes: Vec<SimNode> = (0..count).map(|number| handle.add_node(spec(number))).collect();
        let client = handle.add_node(NodeSpec::new("client", [10, 0, 0, 99]));
        let voters: Vec<String> =
            (0..count).map(|number| format!("{}@10.0.0.{}:9093", number + 1, number + 1)).collect();
        let one = |number: usize| {
            let id = number + 1;
            let base = format!(
                "node.id={id}\ncluster.id=test-cluster\nprocess.roles=broker,controller\n\
                 controller.listener.names=CONTROLLER\nlog.dirs=/data\n\
                 listeners=PLAINTEXT://10.0.0.{id}:9092,CONTROLLER://10.0.0.{id}:9093\n\
                 controller.quorum.voters={}\nlog.message.timestamp.after.max.ms=9223372036854775807\n\
                 broker.rack=rack{id}",
                voters.join(",")
            );
            parse(&format!("{base}\n{settings}"))
        };
        let client = handle.runtime(client);
        let mut cluster = Cluster {
            configs: (0..count).map(one).collect(),
            brokers: (0..count).map(|_| None).collect(),
            handle,
            nodes,
            client,
            observed,
        };
        for number in 0..count {
            cluster.boot(number).await;
        }
        let at = cluster.client.now() + PATIENCE;
        for number in 0..count {
            while cluster.metadata(number, "none").await.brokers.len() < count {
                assert!(cluster.before(at), "not all brokers are there");
                cluster.client.sleep(PAUSE).await;
            }
        }
        cluster
    }

    /// Starts a broker whose node is up.
    pub async fn boot(&mut self, number: usize) {
        let runtime = self.handle.runtime(self.nodes[number]);
        let broker = Broker::start(runtime, self.configs[number].clone()).await.expect("the broker starts");
        self.brokers[number] = Some(broker);
    }

    /// Kills a broker's process.
    pub fn kill(&mut self, number: usize) {
        self.handle.kill(self.nodes[number]).expect("it runs");
        self.brokers[number] = None;
    }

    /// Takes the power of a broker's machine away.
    pub fn power_loss(&mut self, number: usize) {
        self.handle.power_loss(self.nodes[number]).expect("it runs");
        self.brokers[number] = None;
    }

    /// Brings a killed broker back.
    pub async fn revive(&mut self, number: usize) {
        self.handle.start(self.nodes[number]).expect("it was down");
        self.boot(number).await;
    }

    /// Stops a broker in order.
    pub async fn stop(&mut self, number: usize) {
        let broker = self.brokers[number].take().expect("it runs");
        broker.shutdown().await.expect("an orderly stop");
    }

    pub fn client_now_plus(&self, seconds: u64) -> burnin_runtime::Instant {
        self.client.now() + Duration::from_secs(seconds)
    }

    pub fn before(&self, at: burnin_runtime::Instant) -> bool {
        self.client.now() < at
    }

    /// Whom a broker sends a consumer of this rack to; -1 for nobody.
    pub async fn preferred_replica(&self, number: usize, topic: &str, rack: &str) -> i32 {
        let mut request = fetch(topic, 0, 0);
        request.rack_id = text(rack);
        let Response::Fetch(answer) = self.peer(number).await.call(12, request).await else {
            panic!("another answer");
        };
        answer.responses[0].partitions[0].preferred_read_replica.0
    }

    pub async fn sleep(&self, seconds: u64) {
        self.client.sleep(Duration::from_secs(seconds)).await;
    }

    fn address(&self, number: usize) -> SocketAddr {
        ([10, 0, 0, number as u8 + 1], 9092).into()
    }

    /// A connection to a broker.
    pub async fn peer(&self, number: usize) -> Peer<SimRuntime> {
        Peer::connect_served(&self.client, self.address(number)).await
    }

    fn up(&self) -> impl Iterator<Item = usize> {
        (0..self.brokers.len()).filter(|number| self.brokers[*number].is_some())
    }

    /// Creates a topic with one partition on these brokers (1 is the first), the first of which leads.
    pub async fn create(&self, topic: &str, replicas: &[i32], configs: &[(&str, &str)]) {
        let at = self.client.now() + PATIENCE;
        loop {
            let number = self.up().next().expect("a broker is up");
            let assignment = CreatableReplicaAssignment::default()
                .with_partition_index(0)
                .with_broker_ids(replicas.iter().map(|id| BrokerId(*id)).collect());
            let mut request = create(topic, -1, &[]);
            request.topics[0].replication_factor = -1;
            request.topics[0].assignments = vec![assignment];
            let config = |(name, value): &(&str, &str)| {
                CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
            };
            request.topics[0].configs = configs.iter().map(config).collect();
            let Response::CreateTopics(answer) = self.peer(number).await.call(7, request).await else {
                panic!("another answer");
            };
            let code = ErrorCode(answer.topics[0].error_code);
            if [ErrorCode::NONE, ErrorCode::TOPIC_ALREADY_EXISTS].contains(&code) {
                return;
            }
            assert!(self.client.now() < at, "{code}: {:?}", answer.topics[0].error_message);
            self.client.sleep(PAUSE).await;
        }
    }

    async fn metadata(&self, number: usize, topic: &str) -> MetadataResponse {
        let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        let Response::Metadata(answer) = self.peer(number).await.call(9, request).await else {
            panic!("another answer");
        };
        answer
    }

    /// What one broker's metadata say of the topic's partition.
    pub async fn seen_by(&self, number: usize, topic: &str) -> Option<Seen> {
        let answer = self.metadata(number, topic).await;
        let partition = answer.topics.first()?.partitions.first()?;
        let mut isr: Vec<i32> = partition.isr_nodes.iter().map(|id| id.0).collect();
        isr.sort_unstable();
        Some(Seen { leader: partition.leader_id.0, leader_epoch: partition.leader_epoch, isr })
    }

    /// Waits until every broker that is up sees what is wanted.
    pub async fn until(&self, topic: &str, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let at = self.client.now() + PATIENCE;
        loop {
            let (mut all, mut last) = (true, None);
            for number in self.up() {
                last = self.seen_by(number, topic).await;
                all &= last.as_ref().is_some_and(&wanted);
            }
            match last {
                Some(seen) if all => return seen,
                last => assert!(self.client.now() < at, "{what}: {last:?}"),
            }
            self.client.sleep(PAUSE).await;
        }
    }

    /// Produces one record to a broker, once.
    pub async fn produce_to(
        &self,
        number: usize,
        topic: &str,
        acks: i16,
        value: &str,
    ) -> PartitionProduceResponse {
        let mut request = produce(topic, 0, acks, batch(&[value]));
        request.timeout_ms = 5_000;
        let Response::Produce(mut answer) = self.peer(number).await.call(11, request).await else {
            panic!("another answer");
        };
        answer.responses.remove(0).partition_responses.remove(0)
    }

    /// Produces a record with acks=all wherever the leader is, until it is acknowledged. Gives its offset.
    pub async fn produce(&self, topic: &str, value: &str) -> i64 {
        let at = self.client.now() + PATIENCE;
        loop {
            for number in self.up() {
                let leader = self.seen_by(number, topic).await.map_or(-1, |seen| seen.leader);
                let Some(leader) = self.up().find(|number| *number as i32 + 1 == leader) else { continue };
                let work = self.produce_to(leader, topic, -1, value);
                let Some(answer) = timeout(&self.client, Duration::from_secs(10), work).await else {
                    continue;
                };
                if answer.error_code == 0 {
                    return answer.base_offset;
                }
                assert!(
                    self.client.now() < at,
                    "not acknowledged: {} {:?}",
                    ErrorCode(answer.error_code),
                    answer.error_message
                );
            }
            assert!(self.client.now() < at, "no leader takes it");
            self.client.sleep(PAUSE).await;
        }
    }

    /// What a consumer reads from the leader from the beginning.
    pub async fn read(&self, topic: &str) -> Vec<String> {
        let leader = self.until(topic, "a leader", |seen| seen.leader > 0).await.leader;
        self.read_from(leader as usize - 1, topic, "").await
    }

    /// What a consumer of this rack reads from a broker.
    pub async fn read_from(&self, number: usize, topic: &str, rack: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut peer = self.peer(number).await;
        loop {
            let mut request = fetch(topic, 0, found.len() as i64);
            request.rack_id = text(rack);
            let Response::Fetch(mut answer) = peer.call(12, request).await else { panic!("another answer") };
            let data = answer.responses.remove(0).partitions.remove(0);
            assert_eq!(ErrorCode(data.error_code), ErrorCode::NONE);
            let more = values(&data);
            if more.is_empty() {
                return found;
            }
            found.extend(more.into_iter().map(|(_, value)| value));
        }
    }

    /// The observations of a broker (0 is the first) that `pick` picks.
    pub fn observations<T>(&self, pick: impl Fn(usize, &Observation) -> Option<T>) -> Vec<T> {
        let observed = self.observed.0.lock().unwrap();
        observed.iter().filter_map(|(number, observation)| pick(*number, observation)).collect()
    }
}

fn parse(lines: &str) -> BrokerConfig {
    let text: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    BrokerConfig::parse(&text.join("\n")).expect("a valid configuration")
}
