//! The engine runs what the seam promises.

use burnin_engine::*;
use burnin_runtime::{Disk, File, Listener, Net, OpenOptions, Runtime, Stream};
use bytes::Bytes;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn echo_world(seed: u64) -> (u64, u64) {
    let mut sim = Sim::new(seed, SimConfig::default());
    let handle = sim.handle();
    let h = handle.clone();
    let sum = sim
        .block_on(async move {
            let server = h.add_node(NodeSpec::new("server", [10, 0, 0, 1]).start(|rt| async move {
                let mut listener = rt.net().listen("0.0.0.0:9092".parse().unwrap()).await.unwrap();
                let file = rt.disk().open(Path::new("/log"), OpenOptions::CREATE).await.unwrap();
                let mut at = file.len().await.unwrap();
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut buf = [0; 8];
                    while stream.read_exact(&mut buf).await.is_ok() {
                        file.write_at(at, vec![Bytes::copy_from_slice(&buf)]).await.unwrap();
                        at += 8;
                        file.sync_data().await.unwrap();
                        if stream.write_all(&buf).await.is_err() {
                            break;
                        }
                    }
                }
            }));
            h.start(server).unwrap();
            let client = h.add_node(NodeSpec::new("client", [10, 0, 0, 2]));
            let rt = h.runtime(client);
            let task = rt.clone().spawn("client", async move {
                rt.sleep(Duration::from_millis(10)).await;
                let to = rt.net().resolve("server", 9092).await.unwrap()[0];
                let stream = rt.net().connect(to).await.unwrap();
                let (mut read, mut write) = stream.split();
                let mut sum = 0;
                for n in 0..100u64 {
                    write.write_all(&n.to_le_bytes()).await.unwrap();
                    let mut buf = [0; 8];
                    read.read_exact(&mut buf).await.unwrap();
                    sum += u64::from_le_bytes(buf);
                }
                sum
            });
            let sum = task.await.unwrap();
            assert_eq!(h.disk(server).files()[0].durable_len, 800);
            sum
        })
        .unwrap();
    assert_eq!(sum, 4950);
    (sim.trace().hash, sim.trace().events)
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let first = echo_world(1);
    assert_eq!(first, echo_world(1));
    assert_ne!(first, echo_world(2));
}
