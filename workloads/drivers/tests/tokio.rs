//! The drivers on real sockets and several threads: the same code, another filling of the seam.

use burnin_client::{Client, ClientConfig, NewTopic};
use burnin_drivers::*;
use burnin_history::*;
use burnin_runtime::Runtime;
use burnin_runtime_tokio::TokioRuntime;
use burnin_server::{Broker, BrokerConfig};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
struct Told {
    last: Moment,
    acked: BTreeSet<(Tp, i64)>,
    read: BTreeSet<(Tp, i64)>,
    ops: std::collections::BTreeMap<OpId, Tp>,
}

impl Sink for Told {
    fn record(&mut self, at: Moment, event: &Event<'_>) {
        assert!(at >= self.last, "events come in order of time");
        self.last = at;
        match event {
            Event::ProduceInvoked { op, tp, .. } => {
                self.ops.insert(*op, *tp);
            }
            Event::ProduceCompleted { op, outcome, base_offset } => {
                assert_eq!(*outcome, Outcome::Applied);
                let tp = self.ops.remove(op).expect("ends once");
                self.acked.insert((tp, base_offset.expect("an offset")));
            }
            Event::Polled { consumer: ConsumerId(9), tp, records, .. } => {
                self.read.extend(records.iter().map(|seen| (*tp, seen.offset)));
            }
            _ => {}
        }
    }
}

#[test]
fn workloads_run_on_tokio() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().expect("tokio");
    runtime.block_on(async {
        let world = TokioRuntime::new(dir.path().to_owned());
        let config = BrokerConfig::default();
        let config = config.with("listeners", "PLAINTEXT://127.0.0.1:0").expect("a property");
        let config =
            config.with("log.dirs", &dir.path().join("data").display().to_string()).expect("a property");
        let broker = Broker::start(world.clone(), config).await.expect("the broker starts");
        let address = broker.listen_addr().to_string();
        let client =
            Client::connect(world.clone(), ClientConfig::new([address], "test")).await.expect("connects");
        let topic =
            NewTopic { name: "orders".to_owned(), partitions: 4, replication_factor: 1, configs: Vec::new() };
        ensure_topic(&client, &topic, world.now() + Duration::from_secs(10)).await.expect("a topic");
        let mut topology = Topology::new();
        topology.add_topic("orders", 4, Flush::BeforeAck, 1);
        let told: Arc<Mutex<Told>> = Arc::default();
        let recorder = Recorder::new(world.clone(), told.clone());
        let (parts, stop) = (topology.parts().to_vec(), Stop::new());
        let writers: Vec<_> = (0..4).map(|_| Arc::new(WriterProgress::new(4))).collect();
        let append = AppendConfig {
            producers: (0..4).map(ProducerId).collect(),
            ..AppendConfig::new(ProducerId(0), parts.clone(), Pace::Closed(64))
        };
        let appending =
            append_unique(client.clone(), recorder.clone(), append, writers.clone(), stop.clone());
        let appending = world.spawn("append", appending);
        let reader = Arc::new(ReaderProgress::new(4));
        let reading = PollConfig::new(ConsumerId(0), parts.clone());
        let polling = world
            .spawn("poll", poll(client.clone(), recorder.clone(), reading, reader.clone(), stop.clone()));
        world.sleep(Duration::from_secs(2)).await;
        stop.stop();
        appending.await.expect("no panic").expect("appends");
        polling.await.expect("no panic").expect("polls");
        assert!(reader.records() > 0);
        let config = FinalReadConfig::new(ConsumerId(9), parts, world.now() + Duration::from_secs(20));
        let report = final_read(client, recorder, config).await.expect("reads");
        assert_eq!((report.completed, report.failed.len()), (4, 0));
        broker.shutdown().await.expect("stops");
        let told = told.lock();
        assert!(told.acked.len() > 100 && told.ops.is_empty());
        assert_eq!(told.acked, told.read);
        println!("{} records acknowledged in 2 s", told.acked.len());
    });
}
