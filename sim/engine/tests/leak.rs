//! A sweep of many worlds must not grow: what one run allocates is freed when it is dropped.

use burnin_engine::*;
use burnin_runtime::{Disk, File, Listener, Net, OpenOptions, Runtime};
use bytes::Bytes;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MS: Duration = Duration::from_millis(1);

/// Bytes of memory that the process holds, by Linux's account.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has a VmRSS line");
    line.split_whitespace().nth(1).expect("a number of kB").parse::<u64>().expect("a number") * 1024
}

/// A world that ends in the middle of everything: open files, half-read streams, pending timers.
fn world(seed: u64) {
    let mut sim = Sim::new(seed, SimConfig::default());
    let h = sim.handle();
    let main = async move {
        let address = "10.0.0.1:9092".parse().unwrap();
        let server = h.add_node(NodeSpec::new("a", [10, 0, 0, 1]).start(move |rt| async move {
            let file = rt.disk().open(Path::new("/log"), OpenOptions::CREATE).await.unwrap();
            file.write_at(0, vec![Bytes::from(vec![1; 50_000])]).await.unwrap();
            let mut listener = rt.net().listen(address).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = [0; 100];
            stream.read_exact(&mut buf).await.unwrap();
            file.sync_data().await.unwrap();
            std::future::pending::<()>().await;
        }));
        let client = h.add_node(NodeSpec::new("b", [10, 0, 0, 2]).start(move |rt| async move {
            let mut stream = rt.net().connect(address).await.unwrap();
            stream.write_all(&[0; 50_000]).await.unwrap();
            rt.sleep(1_000_000 * MS).await;
        }));
        h.start(server).unwrap();
        h.control().sleep(MS).await;
        h.start(client).unwrap();
        h.control().sleep(20 * MS).await;
    };
    sim.block_on(main).unwrap();
}

#[test]
fn memory_does_not_grow_from_run_to_run() {
    (0..2000).for_each(world);
    let before = resident();
    (0..4000).for_each(world);
    let growth = resident().saturating_sub(before);
    // One leaked page, ring or task per run would be many times this.
    assert!(growth < 4000 * 100, "4000 runs left {growth} bytes");
}
