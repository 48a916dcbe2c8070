//! How much a request costs. Not a check: run it with `--release -- --ignored --nocapture`.

mod fake;

use burnin_client::{Client, ClientConfig, ProducerConfig};
use burnin_drivers::*;
use burnin_engine::{NodeSpec, Sim, SimConfig};
use burnin_history::*;
use burnin_runtime::Runtime;
use fake::{Fake, TOPIC};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

struct Nobody;

impl Sink for Nobody {
    fn record(&mut self, _at: Moment, _event: &Event<'_>) {}
}

fn measure(name: &str, pace: Pace, seconds: u64, linger: Duration, read: bool) {
    let mut sim = Sim::new(1, SimConfig::default());
    let handle = sim.handle();
    let fake = Fake::start(&handle, 1, 4);
    let node = handle.add_node(NodeSpec::new("client", [10, 0, 1, 1]));
    let runtime = handle.runtime(node);
    let recorder = Recorder::new(runtime.clone(), Arc::new(Mutex::new(Nobody)));
    let mut topology = Topology::new();
    topology.add_topic(TOPIC, 4, Flush::BeforeAck, 1);
    let bootstrap = fake.bootstrap();
    let begin = std::time::Instant::now();
    let records = sim
        .block_on(async move {
            let client = Client::connect(runtime.clone(), ClientConfig::new(bootstrap, "test"))
                .await
                .expect("connects");
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
    let took = begin.elapsed();
    let world = fake.world.lock();
    let requests = world.produced + world.fetched;
    println!(
        "{name}: {records} records, {} produce and {} fetch requests, {} events in {took:?}: {:.2} us and {:.1} events a request, {:.0} requests/s",
        world.produced,
        world.fetched,
        handle.events(),
        took.as_secs_f64() * 1e6 / requests as f64,
        handle.events() as f64 / requests as f64,
        requests as f64 / took.as_secs_f64(),
    );
}

#[test]
#[ignore = "a measurement"]
fn requests_per_second() {
    measure("closed loop of 1", Pace::Closed(1), 100, Duration::ZERO, false);
    measure("closed loop of 20", Pace::Closed(20), 20, Duration::ZERO, false);
    measure("200/s", Pace::Even(200.0), 500, Duration::ZERO, false);
    measure("200/s and a reader", Pace::Even(200.0), 500, Duration::ZERO, true);
    measure("5000/s, linger 5 ms", Pace::Even(5000.0), 20, Duration::from_millis(5), true);
    measure("idle reader", Pace::Even(0.0001), 10_000, Duration::ZERO, true);
}
