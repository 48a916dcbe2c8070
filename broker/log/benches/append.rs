//! What an append costs, and what group commit makes of it, on real files in a temporary directory.
//!
//! `cargo bench -p burnin-log`. Prints the time of one append call with nobody waiting, the throughput of appenders
//! that wait for fsync, and that of reads from the hot tail and from files.

use burnin_log::{Log, LogConfig, LogDir, LogDirConfig, Origin, TopicPartition};
use burnin_runtime::Runtime;
use burnin_runtime_tokio::TokioRuntime;
use burnin_wire::batch::{BatchBuilder, BatchOptions};
use bytes::{Bytes, BytesMut};
use uuid::Uuid;

fn batch(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(1_767_225_600_000, None, Some(&vec![7; bytes]), &[]);
    builder.build()
}

async fn create(dir: &LogDir<TokioRuntime>, topic: &str, flush_messages: i64) -> Log<TokioRuntime> {
    let config = LogConfig { flush_messages, ..LogConfig::default() };
    dir.create(TopicPartition::new(topic, 0), Uuid::from_u128(1), config).await.expect("creates")
}

async fn one_append(runtime: &TokioRuntime, dir: &LogDir<TokioRuntime>) {
    let log = create(dir, "one", i64::MAX).await;
    let small = batch(100);
    let mut samples = Vec::new();
    for _ in 0..20 {
        let copies: Vec<BytesMut> = (0..10_000).map(|_| BytesMut::from(&small[..])).collect();
        let began = runtime.now();
        for copy in copies {
            log.append(copy, 0, Origin::Client).expect("appends");
        }
        samples.push(runtime.now().since(began).as_nanos() / 10_000);
        log.wait_durable(log.end_offset()).await.expect("is written");
    }
    samples.sort_unstable();
    println!("append, 100 B batches: median {} ns, best {} ns", samples[10], samples[0]);
}

async fn waiting(
    runtime: &TokioRuntime,
    dir: &LogDir<TokioRuntime>,
    appenders: usize,
    bytes: usize,
    each: u32,
) {
    let log = create(dir, &format!("wait-{appenders}-{bytes}"), 1).await;
    let small = batch(bytes);
    let began = runtime.now();
    let tasks: Vec<_> = (0..appenders)
        .map(|_| {
            let (log, small) = (log.clone(), small.clone());
            runtime.spawn("append", async move {
                for _ in 0..each {
                    let appended =
                        log.append(BytesMut::from(&small[..]), 0, Origin::Client).expect("appends");
                    log.wait_durable(appended.last_offset + 1).await.expect("is durable");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("appends");
    }
    let (seconds, count) = (runtime.now().since(began).as_secs_f64(), appenders as f64 * f64::from(each));
    println!(
        "{appenders} appenders that wait for fsync, {bytes} B: {:.0} batches/s, {:.1} MB/s",
        count / seconds,
        count * small.len() as f64 / seconds / 1e6
    );
}

async fn reading(runtime: &TokioRuntime, dir: &LogDir<TokioRuntime>) {
    let log = create(dir, "read", i64::MAX).await;
    let large = batch(16 << 10);
    for _ in 0..8_000 {
        log.append(BytesMut::from(&large[..]), 0, Origin::Client).expect("appends");
    }
    log.wait_durable(log.end_offset()).await.expect("is written");
    let (end, began) = (log.end_offset(), runtime.now());
    let (mut offset, mut bytes, mut reads) = (0, 0, 0);
    while offset < end {
        let result = log.read(offset, end, 1 << 20, true).await.expect("reads");
        (offset, bytes, reads) = (result.next_offset, bytes + result.bytes(), reads + 1);
    }
    let seconds = runtime.now().since(began).as_secs_f64();
    println!(
        "read of {} MB in {reads} reads: {:.0} MB/s, CRCs checked",
        bytes >> 20,
        bytes as f64 / seconds / 1e6
    );
    let began = runtime.now();
    for _ in 0..1_000_000 {
        assert!(
            log.try_read(end - 10, end, 64 << 10, true)
                .is_some_and(|r| r.is_ok_and(|r| !r.batches.is_empty()))
        );
    }
    println!("read of 4 batches at the tail: {:.0} ns", runtime.now().since(began).as_nanos() as f64 / 1e6);
}

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    threads.block_on(async {
        let root = tempfile::tempdir().expect("a directory");
        let runtime = TokioRuntime::new(root.path().to_owned());
        let config = LogDirConfig { tail_bytes_max: 64 << 20, ..LogDirConfig::default() };
        let dir = LogDir::open(runtime.clone(), "data".into(), config).await.expect("opens");
        one_append(&runtime, &dir).await;
        waiting(&runtime, &dir, 1, 100, 2_000).await;
        waiting(&runtime, &dir, 64, 100, 1_000).await;
        waiting(&runtime, &dir, 20, 100_000, 200).await;
        reading(&runtime, &dir).await;
        dir.shutdown().await.expect("stops");
    });
}
