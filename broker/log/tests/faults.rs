//! One fault or one rare operation each: a hung disk, a full one, a failed sync, bit rot in every kind of file,
//! truncation, retention, deletion, the lock.

use burnin_engine::{DiskOp, FailRule, NodeSpec, PathFilter, Sim, SimConfig, SimHandle, SimNode, SimRuntime};
use burnin_log::{
    AppendError, Appended, Event, Log, LogConfig, LogDir, LogDirConfig, LogError, Origin, ReadError,
    StopFlag, TimestampType, TopicPartition,
};
use burnin_runtime::{Disk, OpenOptions, Runtime, timeout};
use burnin_wire::batch::{BatchBuilder, BatchHeader, BatchOptions, batches, verify_crc};
use bytes::BytesMut;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

type Dir = LogDir<SimRuntime>;

fn simulate<F: Future<Output = ()> + 'static>(test: impl FnOnce(SimHandle, SimNode) -> F) {
    simulate_seed(1, test);
}

fn simulate_seed<F: Future<Output = ()> + 'static>(seed: u64, test: impl FnOnce(SimHandle, SimNode) -> F) {
    let mut sim = Sim::new(seed, SimConfig::default());
    let handle = sim.handle();
    let node = handle.add_node(NodeSpec::new("broker", [10, 0, 0, 1]));
    let test = test(handle, node);
    sim.block_on(test).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

fn tp() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 1000,
        index_interval_bytes: 200,
        retention_ms: -1,
        file_delete_delay_ms: 1000,
        ..LogConfig::default()
    }
}

async fn open_with(runtime: &SimRuntime, log: LogConfig) -> Result<Dir, LogError> {
    let config =
        LogDirConfig { log, tail_bytes_max: 0, checkpoint_interval_ms: 50, ..LogDirConfig::default() };
    LogDir::open(runtime.clone(), PathBuf::from("/data"), config).await
}

async fn open(runtime: &SimRuntime) -> Dir {
    open_with(runtime, small()).await.unwrap()
}

async fn create(dir: &Dir, config: LogConfig) -> Log<SimRuntime> {
    dir.create(tp(), Uuid::from_u128(9), config).await.unwrap()
}

fn batch(records: i32, timestamp: i64) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for n in 0..i64::from(records) {
        builder.push(timestamp + n, Some(b"key"), Some(&[7; 50]), &[]);
    }
    BytesMut::from(&builder.build()[..])
}

fn append(log: &Log<SimRuntime>, records: i32, timestamp: i64) -> Result<Appended, AppendError> {
    log.append(batch(records, timestamp), 3, Origin::Client)
}

/// Appends `count` batches of two records, one per 10 ms from `from_ms` on, and waits until they are durable.
async fn fill(log: &Log<SimRuntime>, count: i64, from_ms: i64) {
    for n in 0..count {
        append(log, 2, from_ms + n * 10).unwrap();
    }
    log.wait_durable(log.end_offset()).await.unwrap();
}

/// Reads everything that can be read, and the offsets at which it failed.
async fn read_all(log: &Log<SimRuntime>) -> (Vec<i64>, Vec<i64>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let (mut offset, end) = (log.start_offset(), log.end_offset());
    while offset < end {
        match log.read(offset, end, 500, true).await {
            Ok(result) => {
                for slice in &result.batches {
                    for found in batches(slice) {
                        let (header, bytes) = found.unwrap();
                        verify_crc(bytes).unwrap();
                        good.extend(header.base_offset.max(offset)..=header.last_offset());
                    }
                }
                assert!(result.next_offset > offset, "nothing at {offset}");
                offset = result.next_offset;
            }
            Err(ReadError::Corrupt { offset: at, .. }) => {
                assert_eq!(at, offset);
                bad.push(offset);
                offset += 1;
            }
            Err(error) => panic!("at {offset}: {error}"),
        }
    }
    (good, bad)
}

fn now(runtime: &SimRuntime) -> i64 {
    runtime.wall_ms()
}

#[test]
fn a_hung_disk_leaves_producers_waiting_and_then_serves_them() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, small()).await;
        handle.disk(node).hang(Some(Duration::from_secs(60)));
        let appended = append(&log, 2, now(&runtime)).unwrap();
        let wait = log.wait_durable(appended.last_offset + 1);
        assert!(timeout(&runtime, Duration::from_secs(30), wait).await.is_none());
        assert_eq!((log.end_offset(), log.durable_offset()), (2, 0));
        log.wait_durable(2).await.unwrap();
        assert_eq!(log.durable_offset(), 2);
        assert_eq!(dir.offline(), None);
    });
}

#[test]
fn a_failed_sync_takes_the_directory_offline_for_good() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, small()).await;
        fill(&log, 3, now(&runtime)).await;
        let other = dir.create(TopicPartition::new("idle", 1), Uuid::nil(), small()).await.unwrap();
        let notify = Arc::new(Notify::new());
        let _watch = other.watch(Event::Durable, &notify);
        handle.disk(node).fail(FailRule::next(DiskOp::Sync, 1)).unwrap();
        append(&log, 1, now(&runtime)).unwrap();
        assert!(matches!(log.wait_durable(7).await, Err(LogError::Offline { .. })));
        notify.notified().await;
        assert!(dir.offline().is_some_and(|reason| reason.contains("sync")), "{:?}", dir.offline());
        assert_eq!(log.durable_offset(), 6);
        handle.disk(node).heal();
        assert!(matches!(append(&log, 1, now(&runtime)), Err(AppendError::Offline(_))));
        assert!(matches!(other.wait_durable(1).await, Err(LogError::Offline { .. })));
        assert!(matches!(log.read(0, 6, 100, true).await, Err(ReadError::Log(LogError::Offline { .. }))));
        assert!(matches!(
            dir.create(TopicPartition::new("new", 0), Uuid::nil(), small()).await,
            Err(LogError::Offline { .. })
        ));
        assert!(dir.shutdown().await.is_err(), "no marker after a failed sync");
        drop((dir, log, other, _watch));
        let dir = open(&runtime).await;
        assert!(dir.log(&tp()).unwrap().end_offset() >= 6);
    });
}

#[test]
fn a_full_disk_takes_the_directory_offline_and_loses_nothing() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, small()).await;
        fill(&log, 20, now(&runtime)).await;
        let used: u64 = handle.disk(node).files().iter().map(|file| file.len.div_ceil(4096) * 4096).sum();
        handle.disk(node).set_capacity(Some(used + 8192));
        let mut durable = 40;
        for _ in 0..200 {
            let Ok(appended) = append(&log, 2, now(&runtime)) else { break };
            if log.wait_durable(appended.last_offset + 1).await.is_err() {
                break;
            }
            durable = appended.last_offset + 1;
        }
        assert!(dir.offline().is_some(), "the disk was never full");
        drop((dir, log));
        handle.disk(node).set_capacity(None);
        handle.power_loss(node).unwrap();
        handle.start(node).unwrap();
        let dir = open(&handle.runtime(node)).await;
        let log = dir.log(&tp()).unwrap();
        assert!(log.end_offset() >= durable);
        let (good, bad) = read_all(&log).await;
        assert_eq!((good, bad), ((0..log.end_offset()).collect(), vec![]));
    });
}

/// Fills a log, stops as told, lets bits rot in matching files, and gives the reopened log.
async fn rotten(
    handle: &SimHandle,
    node: SimNode,
    clean: bool,
    suffix: &str,
    bits: usize,
) -> (Dir, Log<SimRuntime>) {
    let runtime = handle.runtime(node);
    let dir = open(&runtime).await;
    let log = create(&dir, small()).await;
    fill(&log, 60, now(&runtime)).await;
    if clean {
        dir.shutdown().await.unwrap();
    } else {
        dir.checkpoint().await.unwrap();
        fill(&log, 3, now(&runtime)).await;
    }
    drop((dir, log));
    handle.power_loss(node).unwrap();
    handle.start(node).unwrap();
    handle.disk(node).bit_rot(&PathFilter::suffixes([suffix]), bits).unwrap();
    let dir = open(&handle.runtime(node)).await;
    let log = dir.log(&tp()).unwrap();
    (dir, log)
}

#[test]
fn rotten_indexes_snapshots_and_checkpoints_lose_nothing() {
    let files =
        [".index", ".timeindex", ".snapshot", "recovery-point-offset-checkpoint", "leader-epoch-checkpoint"];
    for clean in [true, false] {
        for suffix in files {
            for seed in 0..12 {
                simulate_seed(seed, |handle, node| async move {
                    let bits = [1, 4, 50][seed as usize % 3];
                    let (dir, log) = rotten(&handle, node, clean, suffix, bits).await;
                    let end = if clean { 120 } else { 126 };
                    let (good, bad) = read_all(&log).await;
                    assert_eq!((log.end_offset(), bad), (end, vec![]), "{suffix} clean={clean}");
                    assert_eq!(good, (0..end).collect::<Vec<_>>(), "{suffix} clean={clean}");
                    let mut headers = Vec::new();
                    for offset in 0..end {
                        let result = log.read(offset, end, 1, true).await.unwrap();
                        let header = BatchHeader::parse(&result.batches[0]).unwrap();
                        assert_eq!(header.base_offset, offset / 2 * 2, "{suffix} clean={clean}");
                        headers.push(header);
                    }
                    for wanted in headers.iter().map(|header| header.max_timestamp) {
                        let first = headers.iter().find(|header| header.max_timestamp >= wanted).unwrap();
                        let expected = match first.base_timestamp >= wanted {
                            true => (first.base_offset, first.base_timestamp),
                            false => (first.base_offset + 1, first.max_timestamp),
                        };
                        let found = log.offset_for_timestamp(wanted).await.unwrap();
                        assert_eq!(found, Some(expected), "{suffix} clean={clean}");
                    }
                    let newest = headers.iter().map(|header| header.max_timestamp).max();
                    assert_eq!(log.max_timestamp().await.unwrap().map(|(_, at)| at), newest);
                    // nothing is a week old
                    log.set_config(LogConfig { retention_ms: 7 * 86_400_000, ..small() });
                    retain(&dir, &log).await.unwrap();
                    assert_eq!(log.start_offset(), 0, "{suffix} clean={clean}");
                    fill(&log, 3, now(&handle.runtime(node))).await;
                    dir.shutdown().await.unwrap();
                });
            }
        }
    }
}

#[test]
fn a_rotten_log_keeps_everything_but_the_damaged_batches() {
    for seed in 0..40 {
        simulate_seed(seed, |handle, node| async move {
            let bits = 1 + seed as usize % 4;
            let (dir, log) = rotten(&handle, node, true, ".log", bits).await;
            let end = log.end_offset();
            assert_eq!(end, 120);
            let (good, bad) = read_all(&log).await;
            assert!(!bad.is_empty() && bad.len() <= bits * 2, "{bad:?}");
            assert_eq!(good.len() + bad.len(), 120, "good={good:?} bad={bad:?}");
            fill(&log, 10, now(&handle.runtime(node))).await;
            let (good_now, bad_now) = read_all(&log).await;
            assert_eq!((good_now.len(), bad_now), (good.len() + 20, bad.clone()));
            drop((dir, log));
            // durable damage is not a torn tail for an unclean start either
            handle.power_loss(node).unwrap();
            handle.start(node).unwrap();
            let dir = open(&handle.runtime(node)).await;
            let log = dir.log(&tp()).unwrap();
            assert_eq!(log.end_offset(), 140);
            assert_eq!(read_all(&log).await.1, bad);
        });
    }
}

/// Another life after a power loss, in which checkpoints of this name cannot be read.
async fn without(handle: &SimHandle, node: SimNode, checkpoint: &str) -> (Dir, Log<SimRuntime>) {
    handle.power_loss(node).unwrap();
    handle.start(node).unwrap();
    let path = PathBuf::from("/data").join(checkpoint);
    let file = handle.runtime(node).disk().open(&path, OpenOptions::REPLACE).await.unwrap();
    burnin_runtime::File::write_at(&file, 0, vec!["0\n0\n".into()]).await.unwrap();
    let dir = open(&handle.runtime(node)).await;
    let log = dir.log(&tp()).unwrap();
    (dir, log)
}

#[test]
fn damage_before_another_segment_is_no_torn_tail_without_a_recovery_point_either() {
    simulate(|handle, node| async move {
        let (dir, log) = rotten(&handle, node, true, "0000000.log", 1).await;
        let (good, bad) = read_all(&log).await;
        assert!(!bad.is_empty());
        drop((dir, log));
        let (_dir, log) = without(&handle, node, "recovery-point-offset-checkpoint").await;
        assert_eq!(read_all(&log).await, (good, bad));
    });
}

#[test]
fn log_without_a_start_begins_behind_what_an_interrupted_retention_left() {
    simulate(|handle, node| async move {
        let (dir, log) = rotten(&handle, node, true, ".snapshot", 1).await;
        let (segments, end) = (log.segment_offsets(), log.end_offset());
        log.delete_records_before(segments[3]).await.unwrap();
        drop((dir, log));
        // the first one of three is there again, as if its new name had not reached the disk
        let path = |base: i64, suffix: &str| PathBuf::from(format!("/data/orders-0/{base:020}.log{suffix}"));
        let disk = handle.runtime(node).disk().clone();
        disk.rename(&path(segments[0], ".deleted"), &path(segments[0], "")).await.unwrap();
        disk.sync_dir(Path::new("/data/orders-0")).await.unwrap();
        let (_dir, log) = without(&handle, node, "log-start-offset-checkpoint").await;
        assert_eq!((log.start_offset(), log.end_offset()), (segments[3], end));
        assert_eq!(read_all(&log).await, ((segments[3]..end).collect(), vec![]));
    });
}

#[test]
fn a_torn_tail_is_cut_and_the_log_goes_on() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, small()).await;
        fill(&log, 3, now(&runtime)).await;
        handle.kill(node).unwrap();
        handle.start(node).unwrap();
        let runtime = handle.runtime(node);
        let path = Path::new("/data/orders-0/00000000000000000000.log");
        let file = runtime.disk().open(path, OpenOptions::WRITE).await.unwrap();
        let len = burnin_runtime::File::len(&file).await.unwrap();
        let torn = batch(2, 0).freeze().slice(..100);
        burnin_runtime::File::write_at(&file, len, vec![torn]).await.unwrap();
        let dir = open(&runtime).await;
        let log = dir.log(&tp()).unwrap();
        assert_eq!((log.start_offset(), log.end_offset()), (0, 6));
        fill(&log, 3, now(&runtime)).await;
        assert_eq!(read_all(&log).await, ((0..12).collect(), vec![]));
    });
}

#[test]
fn truncation_cuts_whole_batches_and_survives_a_crash() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, small()).await;
        fill(&log, 30, now(&runtime)).await;
        log.append(batch(2, now(&runtime)), 5, Origin::Client).unwrap();
        assert_eq!(log.latest_epoch(), Some(5));
        log.truncate_to(33).await.unwrap();
        assert_eq!((log.end_offset(), log.durable_offset(), log.latest_epoch()), (32, 32, Some(3)));
        assert!(matches!(log.truncate_to(-1).await, Err(LogError::OffsetOutOfRange { .. })));
        assert_eq!(read_all(&log).await.0, (0..32).collect::<Vec<_>>());
        let end = append(&log, 1, now(&runtime)).unwrap();
        assert_eq!(end.base_offset, 32);
        log.wait_durable(33).await.unwrap();
        handle.power_loss(node).unwrap();
        handle.start(node).unwrap();
        let dir = open(&handle.runtime(node)).await;
        let log = dir.log(&tp()).unwrap();
        assert_eq!(log.end_offset(), 33);
        assert_eq!(read_all(&log).await, ((0..33).collect(), vec![]));
        log.truncate_fully_and_start_at(1000).await.unwrap();
        assert_eq!((log.start_offset(), log.end_offset(), log.latest_epoch()), (1000, 1000, None));
        fill(&log, 2, 0).await;
        handle.power_loss(node).unwrap();
        handle.start(node).unwrap();
        let dir = open(&handle.runtime(node)).await;
        let log = dir.log(&tp()).unwrap();
        assert_eq!((log.start_offset(), log.end_offset()), (1000, 1004));
    });
}

#[test]
fn truncation_into_a_sealed_segment_that_was_read_goes_on_there() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, small()).await;
        fill(&log, 30, now(&runtime)).await;
        assert!(log.segment_offsets().len() > 3);
        let sealed = log.segment_offsets()[1];
        log.read(sealed, i64::MAX, 1, true).await.unwrap();
        log.truncate_to(sealed + 2).await.unwrap();
        assert_eq!(log.segment_offsets().last(), Some(&sealed));
        fill(&log, 3, now(&runtime)).await;
        handle.power_loss(node).unwrap();
        handle.start(node).unwrap();
        let dir = open(&handle.runtime(node)).await;
        let log = dir.log(&tp()).unwrap();
        assert_eq!(read_all(&log).await, ((0..sealed + 8).collect(), vec![]));
    });
}

#[test]
fn retention_by_time_takes_old_segments_and_also_an_old_active_one() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let config = LogConfig { retention_ms: 10_000, ..small() };
        let log = create(&dir, config.clone()).await;
        fill(&log, 20, now(&runtime)).await;
        retain(&dir, &log).await.unwrap();
        assert_eq!(log.start_offset(), 0);
        runtime.sleep(Duration::from_secs(9)).await;
        append(&log, 2, now(&runtime)).unwrap();
        log.wait_durable(42).await.unwrap();
        runtime.sleep(Duration::from_secs(2)).await;
        retain(&dir, &log).await.unwrap();
        let start = log.start_offset();
        assert!(start > 0 && start <= 40, "{start}");
        assert_eq!(read_all(&log).await, ((start..42).collect(), vec![]));
        assert!(handle.disk(node).files().iter().any(|file| file.path.ends_with(".deleted")));
        runtime.sleep(Duration::from_secs(20)).await;
        assert!(!handle.disk(node).files().iter().any(|file| file.path.ends_with(".deleted")));
        retain(&dir, &log).await.unwrap();
        assert_eq!((log.start_offset(), log.end_offset()), (42, 42));
        fill(&log, 1, now(&runtime)).await;
        handle.power_loss(node).unwrap();
        handle.start(node).unwrap();
        let dir = open(&handle.runtime(node)).await;
        let log = dir.log(&tp()).unwrap();
        assert_eq!((log.start_offset(), log.end_offset()), (42, 44));
    });
}

#[test]
fn retention_takes_only_what_is_committed() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, LogConfig { retention_ms: 10_000, retention_bytes: 0, ..small() }).await;
        fill(&log, 20, now(&runtime)).await;
        runtime.sleep(Duration::from_secs(20)).await;
        let segments = log.segment_offsets();
        assert!(segments.len() > 2, "{segments:?}");
        dir.retention_tick(vec![]).await.unwrap();
        assert_eq!(log.start_offset(), 0, "nobody has said what this log is to keep");
        dir.retention_tick(vec![(log.clone(), segments[2] - 1)]).await.unwrap();
        assert_eq!(log.start_offset(), segments[1]);
        dir.retention_tick(vec![(log.clone(), 39)]).await.unwrap();
        assert_eq!(log.start_offset(), *segments.last().unwrap(), "the last batch is not committed");
        dir.retention_tick(vec![(log.clone(), 40)]).await.unwrap();
        assert_eq!((log.start_offset(), log.end_offset()), (40, 40));
    });
}

#[test]
fn retention_by_size_keeps_at_least_what_was_asked_for() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, LogConfig { retention_bytes: 3000, ..small() }).await;
        fill(&log, 60, now(&runtime)).await;
        let before = log.size_bytes();
        retain(&dir, &log).await.unwrap();
        let after = log.size_bytes();
        assert!(before > 6000 && (3000..4000).contains(&after), "before={before} after={after}");
        assert_eq!(log.start_offset(), log.segment_offsets()[0]);
        assert_eq!(read_all(&log).await, ((log.start_offset()..120).collect(), vec![]));
    });
}

#[test]
fn a_deleted_log_is_gone_and_its_name_begins_anew() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, small()).await;
        fill(&log, 30, now(&runtime)).await;
        log.delete_records_before(20).await.unwrap();
        dir.checkpoint().await.unwrap();
        let waiter = log.clone();
        let waiting = runtime.spawn("wait", async move { waiter.wait_durable(1000).await });
        runtime.sleep(Duration::from_millis(1)).await;
        dir.delete(&tp()).await.unwrap();
        assert!(matches!(waiting.await, Ok(Err(LogError::Unknown(_)))));
        assert_eq!(append(&log, 1, 0), Err(AppendError::Deleted));
        assert!(dir.log(&tp()).is_none());
        assert!(matches!(dir.delete(&tp()).await, Err(LogError::Unknown(_))));
        assert!(!handle.disk(node).files().iter().any(|file| file.path.contains("orders")));
        let again = create(&dir, small()).await;
        assert_eq!((again.start_offset(), again.end_offset()), (0, 0));
        fill(&again, 1, now(&runtime)).await;
        handle.power_loss(node).unwrap();
        handle.start(node).unwrap();
        let dir = open(&handle.runtime(node)).await;
        let log = dir.log(&tp()).unwrap();
        assert_eq!((log.start_offset(), log.end_offset(), log.topic_id()), (0, 2, Uuid::from_u128(9)));
    });
}

#[test]
fn one_name_is_created_and_deleted_by_one_at_a_time() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let create_one = || {
            let dir = dir.clone();
            runtime.spawn("create", async move { dir.create(tp(), Uuid::nil(), small()).await.map(drop) })
        };
        let both = (create_one(), create_one());
        let both = (both.0.await.unwrap(), both.1.await.unwrap());
        let refused = |result: &Result<(), LogError>| matches!(result, Err(LogError::Exists(_)));
        assert!(refused(&both.0) != refused(&both.1), "{both:?}");
        let log = dir.log(&tp()).unwrap();
        fill(&log, 3, now(&runtime)).await;
        let delete = {
            let dir = dir.clone();
            runtime.spawn("delete", async move { dir.delete(&tp()).await })
        };
        while dir.log(&tp()).is_some() {
            runtime.sleep(Duration::from_micros(1)).await;
        }
        assert!(matches!(dir.create(tp(), Uuid::nil(), small()).await, Err(LogError::Exists(_))));
        delete.await.unwrap().unwrap();
        assert_eq!(create(&dir, small()).await.end_offset(), 0);
        assert_eq!(dir.offline(), None);
    });
}

#[test]
fn hundreds_of_partitions_come_back() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        for partition in 0..300 {
            let log = dir
                .create(TopicPartition::new("many", partition), Uuid::from_u128(3), small())
                .await
                .unwrap();
            if partition % 10 == 0 {
                fill(&log, 2, now(&runtime)).await;
            }
        }
        dir.shutdown().await.unwrap();
        drop(dir);
        let before = runtime.now();
        let dir = open(&runtime).await;
        assert!(
            runtime.now().since(before) < Duration::from_millis(500),
            "{:?}",
            runtime.now().since(before)
        );
        let ends: Vec<i64> = dir.logs().iter().map(Log::end_offset).collect();
        assert_eq!((ends.len(), ends.iter().sum::<i64>()), (300, 120));
    });
}

#[test]
fn a_second_process_is_refused_and_a_stop_ends_loading() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        create(&dir, small()).await;
        assert!(matches!(open_with(&runtime, small()).await, Err(LogError::Locked(_))));
        dir.shutdown().await.unwrap();
        let stop = StopFlag::default();
        stop.set();
        let config = LogDirConfig { stop, ..LogDirConfig::default() };
        let stopped = LogDir::open(runtime.clone(), PathBuf::from("/data"), config).await;
        assert!(matches!(stopped, Err(LogError::Stopped(_))));
        let marker = |file: &burnin_engine::FileInfo| file.path.ends_with(".kafka_cleanshutdown");
        assert!(!handle.disk(node).files().iter().any(marker), "loading never completed");
        drop(dir);
        open(&runtime).await.shutdown().await.unwrap();
        assert!(handle.disk(node).files().iter().any(marker));
    });
}

#[test]
fn log_append_time_replaces_the_producers_time() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let config = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..small() };
        let log = create(&dir, config).await;
        let appended = append(&log, 2, 5).unwrap();
        assert_eq!(appended.log_append_time, now(&runtime));
        let read = log.read(0, 2, 1000, true).await.unwrap();
        let header = BatchHeader::parse(&read.batches[0]).unwrap();
        assert_eq!((header.max_timestamp, header.leader_epoch), (now(&runtime), 3));
        verify_crc(&read.batches[0]).unwrap();
        assert_eq!(log.max_timestamp().await.unwrap(), Some((0, now(&runtime))));
    });
}

#[test]
fn what_the_controller_decided_may_be_larger_than_a_segment() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, small()).await;
        let time = now(&runtime);
        for count in [1, 30, 40, 1] {
            log.append(batch(count, time), 0, Origin::Controller).unwrap();
        }
        log.wait_durable(log.end_offset()).await.unwrap();
        let (mut next, mut seen) = (0, Vec::new());
        while next < log.end_offset() {
            let read = log.read(next, log.end_offset(), 1 << 20, true).await.unwrap();
            seen.extend(
                read.batches
                    .iter()
                    .flat_map(|chunk| batches(chunk).map(|found| found.unwrap().0.base_offset)),
            );
            next = read.next_offset;
        }
        assert_eq!(seen, [0, 1, 31, 71]);
        drop(log);
        handle.kill(node).unwrap();
        handle.start(node).unwrap();
        let dir = open(&handle.runtime(node)).await;
        let log = dir.log(&tp()).unwrap();
        assert_eq!((log.start_offset(), log.end_offset()), (0, 72));
    });
}

#[test]
fn limits_and_timestamps_are_checked_for_clients() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let config = LogConfig { max_message_bytes: 500, message_timestamp_before_max_ms: 1000, ..small() };
        let log = create(&dir, config).await;
        let time = now(&runtime);
        assert!(matches!(append(&log, 10, time), Err(AppendError::TooLarge { .. })));
        assert!(matches!(append(&log, 1, time + 3_600_001), Err(AppendError::InvalidTimestamp { .. })));
        assert!(matches!(append(&log, 1, time - 1001), Err(AppendError::InvalidTimestamp { .. })));
        let huge = log.append(batch(30, time), 0, Origin::Coordinator);
        assert!(matches!(huge, Err(AppendError::LargerThanSegment { .. })));
        let half = BytesMut::from(&batch(1, time)[..80]);
        assert!(matches!(log.append(half, 0, Origin::Client), Err(AppendError::Malformed(_))));
        assert_eq!(log.end_offset(), 0);
        let gap = log.append(batch(1, time), 0, Origin::Replication).unwrap();
        assert_eq!(gap.base_offset, 0);
        let again = log.append(batch(1, time), 0, Origin::Replication);
        assert_eq!(again, Err(AppendError::UnexpectedOffset { offset: 0, expected: 1 }));
    });
}

#[test]
fn page_cache_mode_acknowledges_before_the_sync_and_syncs_in_time() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let config = LogConfig { flush_messages: i64::MAX, flush_ms: 500, segment_bytes: 1 << 20, ..small() };
        let log = create(&dir, config).await;
        fill(&log, 5, now(&runtime)).await;
        assert_eq!((log.durable_offset(), log.recovery_point()), (10, 0));
        runtime.sleep(Duration::from_millis(600)).await;
        assert_eq!(log.recovery_point(), 10);
        fill(&log, 5, now(&runtime)).await;
        assert_eq!(log.recovery_point(), 10);
        log.flush().await.unwrap();
        assert_eq!(log.recovery_point(), 20);
        log.set_config(LogConfig { flush_messages: 4, segment_bytes: 1 << 20, ..small() });
        fill(&log, 1, now(&runtime)).await;
        assert_eq!(log.recovery_point(), 20);
        fill(&log, 1, now(&runtime)).await;
        assert_eq!(log.recovery_point(), 24);
    });
}

#[test]
fn an_idle_directory_costs_no_events() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, small()).await;
        fill(&log, 3, now(&runtime)).await;
        runtime.sleep(Duration::from_secs(10)).await;
        let before = handle.events();
        runtime.sleep(Duration::from_secs(86_400)).await;
        assert!(handle.events() - before < 5, "{} events in a day", handle.events() - before);
    });
}

#[test]
fn a_commit_costs_one_write_and_one_sync() {
    simulate(|handle, node| async move {
        let runtime = handle.runtime(node);
        let dir = open(&runtime).await;
        let log = create(&dir, LogConfig { segment_bytes: 1 << 20, ..small() }).await;
        fill(&log, 3, now(&runtime)).await;
        let before = handle.disk(node).stats();
        for _ in 0..10 {
            fill(&log, 5, now(&runtime)).await;
        }
        let after = handle.disk(node).stats();
        // the writer may begin with the first batch of five before the others come
        assert!(
            (after.writes - before.writes, after.syncs - before.syncs) <= (10, 10),
            "{before:?} {after:?}"
        );
    });
}

/// A retention tick while everything is committed.
async fn retain(dir: &Dir, log: &Log<SimRuntime>) -> Result<(), LogError> {
    dir.retention_tick(vec![(log.clone(), log.end_offset())]).await
}
