//! What the broker carries on tokio, over loopback and a real disk, with the load in the same process:
//! `cargo bench -p burnin-server --bench production`. A ceiling of the broker, not of a client.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark measures in real time")]

#[path = "../tests/server/common/mod.rs"]
mod common;

use burnin_runtime::Runtime;
use burnin_runtime_tokio::TokioRuntime;
use burnin_server::{Broker, BrokerConfig};
use common::peer::Peer;
use common::requests::*;
use std::time::{Duration, Instant};

const STRETCH: Duration = Duration::from_secs(3);

struct Load {
    connections: usize,
    in_flight: usize,
    records: usize,
    value_bytes: usize,
    flush: bool,
}

async fn run(load: Load) {
    let dir = tempfile::tempdir().expect("a directory");
    let flush = if load.flush { 1 } else { i64::MAX };
    let settings = format!(
        "listeners=PLAINTEXT://127.0.0.1:0\nlog.dirs={}\nlog.flush.interval.messages={flush}\nlog.segment.bytes=268435456\nlog.retention.bytes=536870912\n",
        dir.path().join("data").display()
    );
    let runtime = TokioRuntime::new(dir.path().to_owned());
    let config = BrokerConfig::parse(&settings).expect("valid settings");
    let broker = Broker::start(runtime.clone(), config).await.expect("the broker starts");
    let address = broker.listen_addr();
    let mut admin = Peer::connect(&runtime, address).await;
    call!(admin, CreateTopics v 7, create("t", 4, &[("message.timestamp.after.max.ms", "9223372036854775807")]));
    let began = Instant::now();
    let mut writers = Vec::new();
    for index in 0..load.connections {
        let own = runtime.clone();
        let value = "x".repeat(load.value_bytes);
        let values = vec![value.as_str(); load.records];
        let records = batch(&values);
        let in_flight = load.in_flight;
        writers.push(runtime.spawn("writer", async move {
            let mut peer = Peer::connect(&own, address).await;
            let (mut waiting, mut latencies) = (std::collections::VecDeque::new(), Vec::new());
            while began.elapsed() < STRETCH || !waiting.is_empty() {
                while waiting.len() < in_flight && began.elapsed() < STRETCH {
                    let id = peer.send(9, produce("t", index as i32 % 4, -1, records.clone())).await;
                    waiting.push_back((id, Instant::now()));
                }
                let Some((id, sent)) = waiting.pop_front() else { break };
                let burnin_wire::Response::Produce(answer) =
                    peer.receive(id, burnin_wire::Api::Produce, 9).await
                else {
                    panic!("not a produce response");
                };
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
                latencies.push(sent.elapsed().as_micros() as u64);
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    for writer in writers {
        latencies.extend(writer.await.expect("it ends"));
    }
    let seconds = began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let requests = latencies.len();
    let at = |share: f64| latencies[((requests - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "{} connections x {} in flight, {} x {} B, {:10} {:>9.0} requests/s {:>10.0} records/s {:>6.0} MB/s  p50 {:>6.2} ms p99 {:>6.2} ms",
        load.connections,
        load.in_flight,
        load.records,
        load.value_bytes,
        if load.flush { "fsync" } else { "page cache" },
        requests as f64 / seconds,
        (requests * load.records) as f64 / seconds,
        (requests * load.records * load.value_bytes) as f64 / seconds / 1e6,
        at(0.5),
        at(0.99),
    );
    broker.shutdown().await.expect("an orderly stop");
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    runtime.block_on(async {
        for flush in [false, true] {
            run(Load { connections: 4, in_flight: 5, records: 1000, value_bytes: 100, flush }).await;
            run(Load { connections: 4, in_flight: 5, records: 100, value_bytes: 1000, flush }).await;
            run(Load { connections: 1, in_flight: 1, records: 1, value_bytes: 100, flush }).await;
            run(Load { connections: 64, in_flight: 1, records: 1, value_bytes: 100, flush }).await;
        }
    });
    runtime.shutdown_background();
}
