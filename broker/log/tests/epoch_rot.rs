//! The leader epoch of a batch rots, which no checksum covers, or the checkpoint of epochs, which has none: what was
//! hit is told from what was not, is never served, and never taken for the truth.

use burnin_engine::{NodeSpec, Sim, SimConfig, SimHandle, SimNode, SimRuntime};
use burnin_log::{Log, LogConfig, LogDir, LogDirConfig, Origin, ReadError, TopicPartition};
use burnin_runtime::{Disk, File, OpenOptions, Runtime};
use burnin_wire::batch::{BatchBuilder, BatchOptions, batches};
use bytes::{Bytes, BytesMut};
use std::future::Future;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Of each batch.
const RECORDS: i64 = 2;
/// Where the epoch is in a batch: the last of its four bytes.
const EPOCH_AT: u64 = 15;

fn simulate<F: Future<Output = ()> + 'static>(test: impl FnOnce(SimHandle, SimNode) -> F) {
    simulate_seed(1, test);
}

fn simulate_seed<F: Future<Output = ()> + 'static>(seed: u64, test: impl FnOnce(SimHandle, SimNode) -> F) {
    let mut sim = Sim::new(seed, SimConfig::default());
    let handle = sim.handle();
    let node = handle.add_node(NodeSpec::new("broker", [10, 0, 0, 1]));
    let test = test(handle, node);
    sim.block_on(test).unwrap_or_else(|error| panic!("{error}"));
}

/// A directory that serves nothing from memory, and writes checkpoints when it is told to.
async fn open(runtime: &SimRuntime) -> LogDir<SimRuntime> {
    let log = LogConfig { segment_bytes: 1500, retention_ms: -1, ..LogConfig::default() };
    let config =
        LogDirConfig { log, tail_bytes_max: 0, checkpoint_interval_ms: 1 << 40, ..LogDirConfig::default() };
    LogDir::open(runtime.clone(), PathBuf::from("/data"), config).await.unwrap()
}

fn log_of(dir: &LogDir<SimRuntime>) -> Log<SimRuntime> {
    dir.log(&TopicPartition::new("orders", 0)).unwrap()
}

async fn fill(log: &Log<SimRuntime>, epoch: i32, count: i64) {
    for _ in 0..count {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        (0..RECORDS).for_each(|_| builder.push(5, None, Some(&[7; 50]), &[]));
        log.append(BytesMut::from(&builder.build()[..]), epoch, Origin::Client).unwrap();
    }
    log.wait_durable(log.end_offset()).await.unwrap();
}

/// 10 batches each of epochs 3 and 5, in several segments; what ends the first life.
async fn filled(runtime: &SimRuntime) -> LogDir<SimRuntime> {
    let dir = open(runtime).await;
    let tp = TopicPartition::new("orders", 0);
    let config = LogConfig { segment_bytes: 1500, retention_ms: -1, ..LogConfig::default() };
    let log = dir.create(tp, Uuid::from_u128(9), config).await.unwrap();
    fill(&log, 3, 10).await;
    fill(&log, 5, 10).await;
    assert!(log.segment_offsets().len() > 2, "{:?}", log.segment_offsets());
    dir
}

async fn crash(handle: &SimHandle, node: SimNode) -> SimRuntime {
    handle.power_loss(node).unwrap();
    handle.start(node).unwrap();
    handle.runtime(node)
}

/// Flips bits of the epoch of the batch at `offset`.
async fn rot(runtime: &SimRuntime, segments: &[i64], offset: i64, mask: u8) {
    let base = segments.iter().rev().find(|base| **base <= offset).unwrap();
    let path = format!("/data/orders-0/{base:020}.log");
    let file = runtime.disk().open(Path::new(&path), OpenOptions::WRITE).await.unwrap();
    let bytes = file.read_at(0, 1 << 20).await.unwrap();
    let mut position = 0;
    for batch in batches(&bytes) {
        let (header, batch) = batch.unwrap();
        if header.base_offset == offset {
            let at = position + EPOCH_AT;
            let byte = bytes[at as usize] ^ mask;
            return file.write_at(at, vec![Bytes::copy_from_slice(&[byte])]).await.unwrap();
        }
        position += batch.len() as u64;
    }
    panic!("no batch begins at {offset}");
}

/// The offsets that cannot be read; what can has the epoch that it was appended with.
async fn damaged(log: &Log<SimRuntime>) -> Vec<i64> {
    let (mut offset, mut damaged) = (log.start_offset(), Vec::new());
    while offset < log.end_offset() {
        match log.read(offset, log.end_offset(), 1, true).await {
            Ok(result) => {
                for slice in &result.batches {
                    for batch in batches(slice) {
                        let (header, _) = batch.unwrap();
                        let epoch = [3, 5, 8][(header.base_offset / 20) as usize];
                        assert_eq!(header.leader_epoch, epoch, "at {}", header.base_offset);
                    }
                }
                offset = result.next_offset;
            }
            Err(ReadError::Corrupt { .. }) => {
                damaged.push(offset);
                offset += 1;
            }
            Err(error) => panic!("at {offset}: {error}"),
        }
    }
    damaged
}

#[test]
fn rotten_epoch_is_damage_for_whoever_reads_the_batch() {
    for offset in (0..40).step_by(RECORDS as usize) {
        for mask in [1, 2, 4, 0x80] {
            simulate(|handle, node| async move {
                let runtime = handle.runtime(node);
                let dir = filled(&runtime).await;
                let log = log_of(&dir);
                rot(&runtime, &log.segment_offsets(), offset, mask).await;
                assert_eq!(damaged(&log).await, [offset, offset + 1]);
                assert_eq!(log.latest_epoch(), Some(5));
                // and in a next life, for which everything is known to be durable
                dir.checkpoint().await.unwrap();
                if offset == 38 && 5 ^ mask > 5 {
                    // after a crash the last batch may begin an epoch
                    return;
                }
                let dir = open(&crash(&handle, node).await).await;
                assert_eq!(damaged(&log_of(&dir)).await, [offset, offset + 1]);
                dir.shutdown().await.unwrap();
                let dir = open(&crash(&handle, node).await).await;
                assert_eq!(damaged(&log_of(&dir)).await, [offset, offset + 1]);
                assert_eq!((log_of(&dir).latest_epoch(), log_of(&dir).end_offset()), (Some(5), 40));
            });
        }
    }
}

#[test]
fn rotten_epoch_above_the_recovery_point_is_no_torn_tail() {
    for (offset, mask) in [(22, 1), (24, 2), (26, 1), (28, 2), (30, 4), (36, 0x80), (38, 1)] {
        simulate(|handle, node| async move {
            let runtime = handle.runtime(node);
            let dir = filled(&runtime).await;
            rot(&runtime, &log_of(&dir).segment_offsets(), offset, mask).await;
            let dir = open(&crash(&handle, node).await).await;
            let log = log_of(&dir);
            assert_eq!(log.end_offset(), 40, "mask {mask}");
            let damaged = damaged(&log).await;
            assert_eq!(damaged, [offset, offset + 1], "mask {mask}");
        });
    }
}

#[test]
fn last_batch_may_begin_an_epoch_as_far_as_recovery_can_tell() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = filled(&runtime).await;
        rot(&runtime, &log_of(&dir).segment_offsets(), 38, 2).await;
        let dir = open(&crash(&handle, node).await).await;
        let log = log_of(&dir);
        assert_eq!((log.end_offset(), log.latest_epoch()), (40, Some(7)));
        // A leader that goes on in an earlier epoch proves it wrong.
        let (epoch, offset) = (5, log.start_of_later_epoch(5));
        assert_eq!(offset, Some(38));
        let mut builder = BatchBuilder::new(BatchOptions { base_offset: 40, ..BatchOptions::default() });
        builder.push(5, None, None, &[]);
        let refused = log.append(BytesMut::from(&builder.build()[..]), epoch, Origin::Client);
        assert!(refused.unwrap_err().to_string().contains("come to epoch 7"));
        log.truncate_to(38).await.unwrap();
        assert_eq!(log.latest_epoch(), Some(5));
        // With the epochs on disk there is no doubt.
        dir.checkpoint().await.unwrap();
        fill(&log, 5, 1).await;
        rot(&handle.runtime(node), &log.segment_offsets(), 38, 2).await;
        assert_eq!(damaged(&log).await, [38, 39]);
    });
}

#[test]
fn wrong_checkpoint_of_epochs_is_corrected_by_the_batches() {
    for wrong in
        ["0\n2\n2 0\n5 20\n", "0\n2\n3 0\n4 20\n", "0\n2\n3 0\n5 30\n", "0\n2\n3 0\n5 12\n", "0\n1\n7 0\n"]
    {
        for clean in [false, true] {
            simulate(|handle, node| async move {
                let runtime = handle.runtime(node);
                let dir = filled(&runtime).await;
                match clean {
                    true => dir.shutdown().await.unwrap(),
                    false => dir.checkpoint().await.unwrap(),
                }
                let runtime = crash(&handle, node).await;
                let path = Path::new("/data/orders-0/leader-epoch-checkpoint");
                let file = runtime.disk().open(path, OpenOptions::REPLACE).await.unwrap();
                file.write_at(0, vec![Bytes::from(wrong)]).await.unwrap();
                let dir = open(&runtime).await;
                let log = log_of(&dir);
                assert_eq!(damaged(&log).await, [0; 0], "{wrong:?} clean={clean}");
                let ends = [3, 4, 5].map(|epoch| log.end_offset_for_epoch(epoch));
                assert_eq!(ends, [Some((3, 20)), Some((3, 20)), Some((5, 40))], "{wrong:?} clean={clean}");
                dir.shutdown().await.unwrap();
            });
        }
    }
}

/// Where every segment holds a batch, none has neighbours: only all of them together can say that it is the checkpoint.
#[test]
fn wrong_checkpoint_is_corrected_by_segments_of_one_batch_each() {
    for clean in [false, true] {
        simulate(|handle, node| async move {
            let runtime = handle.runtime(node);
            let dir = filled(&runtime).await;
            let log = log_of(&dir);
            let small = LogConfig { segment_bytes: 200, retention_ms: -1, ..LogConfig::default() };
            log.set_config(small);
            let from = log.end_offset();
            fill(&log, 8, 5).await;
            assert!(
                (from..log.end_offset()).step_by(2).skip(1).all(|at| log.segment_offsets().contains(&at))
            );
            match clean {
                true => dir.shutdown().await.unwrap(),
                false => dir.checkpoint().await.unwrap(),
            }
            let runtime = crash(&handle, node).await;
            let path = Path::new("/data/orders-0/leader-epoch-checkpoint");
            let file = runtime.disk().open(path, OpenOptions::REPLACE).await.unwrap();
            // 8 with a flipped bit
            file.write_at(0, vec![Bytes::from("0\n3\n3 0\n5 20\n9 40\n")]).await.unwrap();
            let dir = open(&runtime).await;
            let log = log_of(&dir);
            assert_eq!(damaged(&log).await, [0; 0], "clean={clean}");
            assert_eq!(log.end_offset_for_epoch(8), Some((8, 50)), "clean={clean}");
            dir.shutdown().await.unwrap();
        });
    }
}

#[test]
fn damage_that_is_found_while_a_segment_begins_is_damage() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = filled(&runtime).await;
        let log = log_of(&dir);
        let segments = log.segment_offsets();
        rot(&runtime, &segments, 4, 1).await;
        // its file is made when those before it are on the medium
        while log.segment_offsets().len() == segments.len() {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            (0..RECORDS).for_each(|_| builder.push(5, None, Some(&[7; 50]), &[]));
            log.append(BytesMut::from(&builder.build()[..]), 5, Origin::Client).unwrap();
        }
        let result = log.read(4, log.end_offset(), 1, true).await;
        assert!(matches!(result, Err(ReadError::Corrupt { offset: 4, .. })), "{result:?}");
        log.wait_durable(log.end_offset()).await.unwrap();
    });
}

async fn reads_what_is_removed(handle: SimHandle, node: SimNode) {
    let runtime = handle.runtime(node);
    let dir = filled(&runtime).await;
    let log = log_of(&dir);
    let end = log.end_offset();
    let removing = runtime.spawn("removing", {
        let log = log.clone();
        async move { log.delete_records_before(20).await }
    });
    // from one segment and another, so that indexes and files are opened again each time
    let mut reads = 0;
    loop {
        match log.read([2, 16][reads % 2], end, 1, true).await {
            Ok(result) => assert!(result.bytes() > 0),
            Err(ReadError::OffsetOutOfRange { start: 20, .. }) => break,
            Err(error) => panic!("{error}"),
        }
        reads += 1;
    }
    assert!(reads > 0);
    removing.await.unwrap().unwrap();
}

#[test]
fn reader_of_what_is_removed_meanwhile_is_told_that_it_is_out_of_range() {
    (0..40).for_each(|seed| simulate_seed(seed, reads_what_is_removed));
}
