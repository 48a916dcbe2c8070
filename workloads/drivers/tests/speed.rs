//! How much a request costs. Not a check: run it with `--release -- --ignored --nocapture`.

mod fake;

use burnin_client::{Client, ClientConfig, NewTopic, ProducerConfig};
use burnin_drivers::*;
use burnin_engine::{NodeSpec, Sim, SimConfig, SimHandle};
use burnin_history::*;
use burnin_runtime::Runtime;
use burnin_server::{Broker, BrokerConfig};
use fake::{Fake, TOPIC};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

struct Nobody;

impl Sink for Nobody {
    fn record(&mut self, _at: Moment, _event: &Event<'_>) {}
}

/// CPU time of this thread. A world runs in one thread.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().expect("a number").parse().expect("nanoseconds"))
}

/// Who serves: the scripted cluster costs next to nothing, so that what is left is the client and the engine.
enum Server {
    Scripted(Fake),
    Real,
}

fn real(handle: &SimHandle) {
    let node = handle.add_node(NodeSpec::new("broker-1", [10, 0, 0, 1]).start(|runtime| async move {
        let config = BrokerConfig::default();
        let config = config.with("listeners", "PLAINTEXT://10.0.0.1:9092").expect("a property");
        let config = config.with("log.dirs", "/data").expect("a property");
        let broker = Broker::start(runtime, config).await.expect("the broker starts");
        broker.wait().await.expect("the broker stays well");
    }));
    handle.start(node).expect("a new node starts");
}

fn measure(real_one: bool, name: &str, pace: Pace, seconds: u64, linger: Duration, read: bool) {
    let mut sim = Sim::new(1, SimConfig::default());
    let handle = sim.handle();
    let server = if real_one {
        real(&handle);
        Server::Real
    } else {
        Server::Scripted(Fake::start(&handle, 1, 4))
    };
    let node = handle.add_node(NodeSpec::new("client", [10, 0, 1, 1]));
    let runtime = handle.runtime(node);
    let recorder = Recorder::new(runtime.clone(), Arc::new(Mutex::new(Nobody)));
    let mut topology = Topology::new();
    topology.add_topic(TOPIC, 4, Flush::BeforeAck, 1);
    let begin = cpu();
    let records = sim
        .block_on(async move {
            let client = Client::connect(runtime.clone(), ClientConfig::new(["broker-1:9092"], "test"))
                .await
                .expect("connects");
            if real_one {
                let topic = NewTopic {
                    name: TOPIC.to_owned(),
                    partitions: 4,
                    replication_factor: 1,
                    configs: Vec::new(),
                };
                ensure_topic(&client, &topic, runtime.now() + Duration::from_secs(60))
                    .await
                    .expect("a topic");
            }
            let stop = Stop::new();
            let parts = topology.parts().to_vec();
            let producer = ProducerConfig { linger, ..ProducerConfig::default() };
            let append = AppendConfig { producer, ..AppendConfig::new(ProducerId(0), parts.clone(), pace) };
            let writer = Arc::new(WriterProgress::new(4));
            let appending = runtime.spawn(
                "append",
                append_unique(client.clone(), recorder.clone(), append, vec![writer.clone()], stop.clone()),
            );
            let reader = Arc::new(ReaderProgress::new(4));
            let config = PollConfig::new(ConsumerId(0), parts);
            let polling = read
                .then(|| runtime.spawn("poll", poll(client, recorder, config, reader.clone(), stop.clone())));
            runtime.sleep(Duration::from_secs(seconds)).await;
            stop.stop();
            appending.await.expect("no panic").expect("appends");
            if let Some(polling) = polling {
                polling.await.expect("no panic").expect("polls");
            }
            writer.applied()
        })
        .expect("runs");
    let took = cpu() - begin;
    let micros = took.as_secs_f64() * 1e6;
    print!(
        "{name}: {records} records, {} events, {took:?}, {:.2} us a record",
        handle.events(),
        micros / records as f64
    );
    if let Server::Scripted(fake) = server {
        let world = fake.world.lock();
        let (produced, fetched) = (world.produced, world.fetched);
        let each = micros / (produced + fetched) as f64;
        print!("; {produced} produce and {fetched} fetch requests, {each:.2} us a request");
    }
    println!("; {:.0} simulated seconds per CPU-second", seconds as f64 / took.as_secs_f64());
}

#[test]
#[ignore = "a measurement"]
fn requests_per_second() {
    for real in [false, true] {
        println!("{}", if real { "the broker:" } else { "the scripted cluster:" });
        measure(real, "closed loop of 1", Pace::Closed(1), 100, Duration::ZERO, false);
        measure(real, "closed loop of 20", Pace::Closed(20), 20, Duration::ZERO, false);
        measure(real, "200/s", Pace::Even(200.0), 500, Duration::ZERO, false);
        measure(real, "200/s and a reader", Pace::Even(200.0), 500, Duration::ZERO, true);
        measure(
            real,
            "5000/s, linger 5 ms, and a reader",
            Pace::Even(5000.0),
            20,
            Duration::from_millis(5),
            true,
        );
        measure(real, "idle reader", Pace::Even(0.0001), 10_000, Duration::ZERO, true);
    }
}
