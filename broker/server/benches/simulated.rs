//! What the broker costs in simulation, client and engine included: `cargo bench -p burnin-server`.
//!
//! CPU time is that of the thread, so that other work on the machine does not count.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures in real time")]

#[path = "../tests/server/common/mod.rs"]
mod common;

use burnin_engine::{SimHandle, SimRuntime};
use burnin_runtime::Runtime;
use common::peer::Peer;
use common::requests::*;
use common::*;
use std::time::Duration;

/// Nanoseconds that this thread has been on a CPU.
fn cpu_nanos() -> u64 {
    let stat =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells what a thread has used");
    stat.split_whitespace().next().and_then(|field| field.parse().ok()).expect("a number")
}

struct Measured {
    requests: u64,
    simulated: Duration,
    events: u64,
    cpu: f64,
}

fn measure(
    name: &str,
    run: impl AsyncFnOnce(SimHandle, burnin_engine::SimNode, burnin_engine::SimNode) -> u64 + 'static,
) {
    let began = cpu_nanos();
    let (requests, simulated, events) = in_world(1, async move |handle: SimHandle, server, client| {
        let requests = run(handle.clone(), server, client).await;
        (requests, handle.now().since(burnin_runtime::Instant::ZERO), handle.events())
    });
    let cpu = (cpu_nanos() - began) as f64 / 1e9;
    let measured = Measured { requests, simulated, events, cpu };
    println!(
        "{name:44} {:>9.0} requests/CPU-s {:>10.0} simulated s/CPU-s {:>8.2} µs/event {:>6.1} events/request",
        measured.requests as f64 / measured.cpu,
        measured.simulated.as_secs_f64() / measured.cpu,
        measured.cpu * 1e6 / measured.events as f64,
        measured.events as f64 / measured.requests.max(1) as f64,
    );
}

async fn peer(runtime: &SimRuntime) -> Peer<SimRuntime> {
    Peer::connect(runtime, (SERVER_IP, 9092).into()).await
}

/// One record per request, one request in flight per connection.
async fn produce_alone(
    handle: SimHandle,
    server: burnin_engine::SimNode,
    client: burnin_engine::SimNode,
    connections: usize,
    each: usize,
) -> u64 {
    let _broker = start_in(&handle, server, &sim_config("")).await.expect("the broker starts");
    let runtime = handle.runtime(client);
    call!(peer(&runtime).await, CreateTopics v 7, create("t", 4, &[]));
    let mut writers = Vec::new();
    for index in 0..connections {
        let own = runtime.clone();
        writers.push(runtime.spawn("writer", async move {
            let mut peer = peer(&own).await;
            let value = "x".repeat(100);
            for _ in 0..each {
                call!(peer, Produce v 9, produce("t", index as i32 % 4, -1, batch(&[&value])));
            }
        }));
    }
    for writer in writers {
        writer.await.expect("it ends");
    }
    (connections * each) as u64
}

/// Two producers with 100 unbatched records a second each and two readers with long polls.
async fn paced(
    handle: SimHandle,
    server: burnin_engine::SimNode,
    client: burnin_engine::SimNode,
    seconds: u64,
) -> u64 {
    let _broker = start_in(&handle, server, &sim_config("")).await.expect("the broker starts");
    let runtime = handle.runtime(client);
    call!(peer(&runtime).await, CreateTopics v 7, create("t", 2, &[]));
    let mut tasks = Vec::new();
    for partition in 0..2 {
        let own = runtime.clone();
        tasks.push(runtime.spawn("writer", async move {
            let mut peer = peer(&own).await;
            let value = "x".repeat(100);
            for _ in 0..seconds * 100 {
                call!(peer, Produce v 9, produce("t", partition, -1, batch(&[&value])));
                own.sleep(Duration::from_millis(10)).await;
            }
            seconds * 100
        }));
        let own = runtime.clone();
        tasks.push(runtime.spawn("reader", async move {
            let mut peer = peer(&own).await;
            let (mut offset, mut requests) = (0, 0);
            while offset < seconds as i64 * 100 {
                let answer = call!(peer, Fetch v 12, fetch("t", partition, offset).with_max_wait_ms(500));
                let data = &answer.responses[0].partitions[0];
                offset += values(data).len() as i64;
                requests += 1;
            }
            requests
        }));
    }
    let mut requests = 0;
    for task in tasks {
        requests += task.await.expect("it ends");
    }
    requests
}

/// Clients that are connected and wait: readers with long polls of this length.
async fn idle(
    handle: SimHandle,
    server: burnin_engine::SimNode,
    client: burnin_engine::SimNode,
    poll_ms: i32,
    seconds: u64,
) -> u64 {
    let _broker = start_in(&handle, server, &sim_config("")).await.expect("the broker starts");
    let runtime = handle.runtime(client);
    call!(peer(&runtime).await, CreateTopics v 7, create("t", 1, &[]));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let own = runtime.clone();
        tasks.push(runtime.spawn("reader", async move {
            let mut peer = peer(&own).await;
            let mut requests = 0;
            while poll_ms > 0 && own.now().since(burnin_runtime::Instant::ZERO).as_secs() < seconds {
                call!(peer, Fetch v 12, fetch("t", 0, 0).with_max_wait_ms(poll_ms));
                requests += 1;
            }
            own.sleep_until(burnin_runtime::Instant::ZERO + Duration::from_secs(seconds)).await;
            requests
        }));
    }
    let mut requests = 0;
    for task in tasks {
        requests += task.await.expect("it ends");
    }
    requests
}

fn main() {
    measure("produce, 1 connection", async |h, s, c| produce_alone(h, s, c, 1, 50_000).await);
    measure("produce, 16 connections", async |h, s, c| produce_alone(h, s, c, 16, 5_000).await);
    measure("200 records/s, 2 readers", async |h, s, c| paced(h, s, c, 200).await);
    measure("4 idle readers, polls of 500 ms", async |h, s, c| idle(h, s, c, 500, 10_000).await);
    measure("4 idle readers, polls of 10 s", async |h, s, c| idle(h, s, c, 10_000, 100_000).await);
    measure("4 idle connections", async |h, s, c| idle(h, s, c, 0, 1_000_000).await);
}
