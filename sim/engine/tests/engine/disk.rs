//! Each fault of the disk bites, ends when it is healed, and does nothing else.

use crate::common::*;
use burnin_engine::*;
use burnin_runtime::{Disk, File, OpenOptions, Runtime};
use bytes::Bytes;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

const EIO: Option<i32> = Some(5);

fn node(h: &SimHandle) -> SimNode {
    h.add_node(NodeSpec::new("n", [10, 0, 0, 1]))
}

async fn create(h: &SimHandle, node: SimNode, path: &str) -> SimFile {
    h.runtime(node).disk().open(Path::new(path), OpenOptions::CREATE).await.unwrap()
}

async fn write(file: &SimFile, offset: u64, data: &[u8]) {
    file.write_at(offset, vec![Bytes::copy_from_slice(data)]).await.unwrap();
}

async fn content(h: &SimHandle, node: SimNode, path: &str) -> Option<Vec<u8>> {
    let file = h.runtime(node).disk().open(Path::new(path), OpenOptions::READ).await.ok()?;
    Some(file.read_at(0, 1 << 20).await.unwrap().to_vec())
}

/// A file with synced content in a synced directory.
async fn durable(h: &SimHandle, node: SimNode, path: &str, data: &[u8]) -> SimFile {
    let file = create(h, node, path).await;
    write(&file, 0, data).await;
    file.sync_data().await.unwrap();
    h.runtime(node).disk().sync_dir(Path::new("/")).await.unwrap();
    file
}

fn restart(h: &SimHandle, node: SimNode) {
    h.start(node).unwrap();
}

#[test]
fn a_kill_keeps_what_was_written_and_a_power_loss_what_was_synced() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..40 {
        let (survived, _) = run(seed, config(), |h| async move {
            let n = node(&h);
            let file = durable(&h, n, "/a", b"synced").await;
            write(&file, 6, b" and not").await;
            h.kill(n).unwrap();
            restart(&h, n);
            assert_eq!(content(&h, n, "/a").await.unwrap(), b"synced and not");
            let loss = h.power_loss(n).unwrap();
            restart(&h, n);
            let after = content(&h, n, "/a").await.unwrap();
            assert!(after.starts_with(b"synced"), "seed {seed}: {after:?}");
            assert_eq!(loss.pages_kept + loss.pages_lost + loss.pages_torn, 1);
            after == b"synced and not"
        });
        *(if survived { &mut kept } else { &mut lost }) += 1;
    }
    assert!(lost > 5 && kept > 5, "lost {lost}, kept {kept}");
}

#[test]
fn a_power_loss_tears_at_sectors_and_leaves_zeros_where_the_size_went_ahead() {
    let (mut torn, mut zeros, mut shorter) = (0, 0, 0);
    for seed in 0..100 {
        run(seed, config(), |h| async move {
            let n = node(&h);
            let file = durable(&h, n, "/a", &[1; 8192]).await;
            write(&file, 0, &[2; 20_000]).await;
            h.power_loss(n).unwrap();
            restart(&h, n);
            content(&h, n, "/a").await.unwrap()
        })
        .0
        .chunks(4096)
        .enumerate()
        .for_each(|(page, bytes)| {
            let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
            for (sector, &first) in bytes.chunks(512).zip(&sectors) {
                assert!(sector.iter().all(|&byte| byte == first), "seed {seed}: torn inside a sector");
                assert!(if page < 2 { first == 1 || first == 2 } else { first == 0 || first == 2 });
            }
            torn += usize::from(sectors.iter().any(|&s| s != sectors[0]));
            zeros += usize::from(sectors.iter().all(|&s| s == 0));
            shorter += usize::from(bytes.len() % 512 != 0 && bytes.len() != 20_000 % 4096);
        });
    }
    assert!(torn > 10 && zeros > 10 && shorter > 3, "torn {torn}, zeros {zeros}, shorter {shorter}");
}

#[test]
fn names_that_were_not_synced_are_kept_or_lost_and_a_rename_is_never_half_done() {
    let mut outcomes = std::collections::BTreeMap::new();
    for seed in 0..100 {
        let (outcome, _) = run(seed, config(), |h| async move {
            let n = node(&h);
            durable(&h, n, "/target", b"old").await;
            durable(&h, n, "/gone", b"gone").await;
            let rt = h.runtime(n);
            let file = create(&h, n, "/tmp").await;
            write(&file, 0, b"new").await;
            file.sync_data().await.unwrap();
            rt.disk().rename(Path::new("/tmp"), Path::new("/target")).await.unwrap();
            rt.disk().remove_file(Path::new("/gone")).await.unwrap();
            let created = create(&h, n, "/created").await;
            created.sync_data().await.unwrap();
            h.power_loss(n).unwrap();
            restart(&h, n);
            let (target, tmp) = (content(&h, n, "/target").await, content(&h, n, "/tmp").await);
            match (target.as_deref(), tmp.as_deref()) {
                (Some(b"old"), None | Some(b"new")) | (Some(b"new"), None) => {}
                other => panic!("seed {seed}: {other:?}"),
            }
            let gone = content(&h, n, "/gone").await.is_some();
            (target == Some(b"new".to_vec()), tmp.is_some(), gone, content(&h, n, "/created").await.is_some())
        });
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    assert!(outcomes.len() >= 8, "{outcomes:?}");
}

#[test]
fn a_synced_directory_keeps_its_names() {
    for seed in 0..50 {
        run(seed, config(), |h| async move {
            let n = node(&h);
            let rt = h.runtime(n);
            rt.disk().create_dir_all(Path::new("/d/e")).await.unwrap();
            let file = create(&h, n, "/d/e/tmp").await;
            write(&file, 0, b"x").await;
            file.sync_data().await.unwrap();
            rt.disk().rename(Path::new("/d/e/tmp"), Path::new("/d/e/f")).await.unwrap();
            for dir in ["/d/e", "/d", "/"] {
                rt.disk().sync_dir(Path::new(dir)).await.unwrap();
            }
            assert_eq!(h.disk(n).pending_names(), 0);
            h.power_loss(n).unwrap();
            restart(&h, n);
            assert_eq!(content(&h, n, "/d/e/f").await.unwrap(), b"x");
            assert!(content(&h, n, "/d/e/tmp").await.is_none());
        });
    }
}

#[test]
fn a_hanging_disk_answers_nothing_until_its_time_is_over() {
    run(1, config(), |h| async move {
        let n = node(&h);
        let file = durable(&h, n, "/a", b"synced").await;
        let disk = h.disk(n);
        disk.hang(Some(5 * SECOND));
        let start = h.now();
        assert!(file.try_read_at(0, 6).is_none(), "the cache is not asked while the disk hangs");
        assert!(within(&h, SECOND, file.sync_data()).await.is_none());
        assert_eq!(disk.waiting(), 1, "it is still under way, though nobody waits");
        write(&file, 6, b"!").await;
        assert!((5 * SECOND..6 * SECOND).contains(&h.now().since(start)), "{:?}", h.now().since(start));
        disk.hang(None);
        assert!(within(&h, 10_000 * SECOND, file.len()).await.is_none());
        disk.heal();
        assert_eq!(file.len().await.unwrap(), 7);
        sleep(&h, 5 * MS).await;
        assert_eq!(disk.waiting(), 0);
    });
}

#[test]
fn a_slow_disk_takes_longer_and_recovers() {
    run(1, config(), |h| async move {
        let n = node(&h);
        let file = durable(&h, n, "/a", b"synced").await;
        let mut times = Vec::new();
        for factor in [1.0, 1000.0, 1.0] {
            h.disk(n).slow(factor).unwrap();
            let start = h.now();
            file.sync_data().await.unwrap();
            times.push(h.now().since(start));
        }
        assert!(times[1] > 50 * times[0].max(times[2]), "{times:?}");
        assert!(h.disk(n).slow(0.0).is_err() && h.disk(n).slow(f64::NAN).is_err());
    });
}

#[test]
fn operations_fail_by_kind_path_and_count() {
    run(1, config(), |h| async move {
        let n = node(&h);
        let log = durable(&h, n, "/00.log", b"log").await;
        let index = durable(&h, n, "/00.index", b"index").await;
        let disk = h.disk(n);
        let path = PathFilter::suffixes([".index"]);
        disk.fail(FailRule { op: DiskOp::Read, path, chance: 1.0, count: Some(2), short: false }).unwrap();
        for _ in 0..2 {
            assert!(index.try_read_at(0, 5).is_none());
            assert_eq!(index.read_at(0, 5).await.unwrap_err().raw_os_error(), EIO);
            assert_eq!(log.read_at(0, 3).await.unwrap(), "log");
        }
        assert_eq!(index.read_at(0, 5).await.unwrap(), "index", "twice and no more");
        disk.fail(FailRule::next(DiskOp::Names, 1)).unwrap();
        let rt = h.runtime(n);
        let error = rt.disk().remove_file(Path::new("/00.log")).await.unwrap_err();
        assert_eq!(error.raw_os_error(), EIO);
        assert_eq!(log.read_at(0, 3).await.unwrap(), "log");
        assert!(disk.fail(FailRule { chance: 1.5, ..FailRule::next(DiskOp::Read, 1) }).is_err());
        assert!(disk.fail(FailRule::next(DiskOp::Read, 0)).is_err());
    });
}

#[test]
fn a_failing_write_leaves_a_part() {
    let mut parts = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let (part, _) = run(seed, config(), |h| async move {
            let n = node(&h);
            let file = durable(&h, n, "/a", &[1; 1000]).await;
            if seed % 2 == 0 {
                h.disk(n).fail(FailRule::next(DiskOp::Write, 1)).unwrap();
            } else {
                h.disk(n).short_writes(1.0);
            }
            let error = file
                .write_at(0, vec![Bytes::from(vec![2; 600]), Bytes::from(vec![2; 400])])
                .await
                .unwrap_err();
            assert_eq!(error.raw_os_error(), EIO);
            let after = content(&h, n, "/a").await.unwrap();
            let part = after.iter().take_while(|&&byte| byte == 2).count();
            assert!(after[part..].iter().all(|&byte| byte == 1), "seed {seed}: not a prefix");
            part
        });
        parts.insert(part);
    }
    assert!(parts.len() > 10 && parts.contains(&0), "{parts:?}");
}

#[test]
fn after_a_failed_sync_a_later_one_says_ok_and_the_pages_are_lost() {
    let mut lost = 0;
    for seed in 0..30 {
        let (was_lost, _) = run(seed, config(), |h| async move {
            let n = node(&h);
            let file = durable(&h, n, "/a", &[1; 4096]).await;
            write(&file, 0, &[2; 4096]).await;
            h.disk(n).fail(FailRule::next(DiskOp::Sync, 1)).unwrap();
            assert_eq!(file.sync_data().await.unwrap_err().raw_os_error(), EIO);
            file.sync_data().await.unwrap();
            assert_eq!(file.read_at(0, 4096).await.unwrap(), vec![2; 4096], "the cache shows it");
            h.power_loss(n).unwrap();
            restart(&h, n);
            let after = content(&h, n, "/a").await.unwrap();
            assert!(after == [1; 4096] || after == [2; 4096]);
            after == [1; 4096]
        });
        lost += usize::from(was_lost);
    }
    assert!((5..30).contains(&lost), "{lost} of 30");
    // Writing the page again makes it dirty again, and a sync then writes it.
    run(1, config(), |h| async move {
        let n = node(&h);
        let file = durable(&h, n, "/a", &[1; 4096]).await;
        write(&file, 0, &[2; 4096]).await;
        h.disk(n).fail(FailRule::next(DiskOp::Sync, 1)).unwrap();
        file.sync_data().await.unwrap_err();
        write(&file, 0, &[2; 1]).await;
        file.sync_data().await.unwrap();
        h.power_loss(n).unwrap();
        restart(&h, n);
        assert_eq!(content(&h, n, "/a").await.unwrap(), [2; 4096]);
    });
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_takes_it_when_there_is_room() {
    run(1, config(), |h| async move {
        let n = node(&h);
        let file = durable(&h, n, "/a", &[1; 4096]).await;
        h.disk(n).set_capacity(Some(3 * 4096));
        let error = file.write_at(4096, vec![Bytes::from(vec![2; 4 * 4096])]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(file.len().await.unwrap(), 3 * 4096, "what fits was written");
        assert_eq!(h.disk(n).used(), 3 * 4096);
        write(&file, 0, &[3; 4096]).await;
        let rt = h.runtime(n);
        let refused = rt.disk().open(Path::new("/b"), OpenOptions::CREATE).await.map(|_| ());
        assert_eq!(kind(refused), ErrorKind::StorageFull);
        file.set_len(4096).await.unwrap();
        write(&file, 4096, &[4; 4096]).await;
        rt.disk().remove_file(Path::new("/a")).await.unwrap();
        assert_eq!(h.disk(n).used(), 2 * 4096, "it is still open");
        drop(file);
        assert_eq!(h.disk(n).used(), 0);
        create(&h, n, "/b").await;
    });
}

#[test]
fn a_model_with_a_capacity_keeps_it_when_healed() {
    run(1, config(), |h| async move {
        let disk = DiskModel { capacity: Some(8192), ..DiskModel::default() };
        let n = h.add_node(NodeSpec { disk, ..NodeSpec::new("n", [10, 0, 0, 1]) });
        let file = create(&h, n, "/a").await;
        h.disk(n).heal();
        let full = file.write_at(0, vec![Bytes::from(vec![1; 3 * 4096])]).await;
        assert_eq!(kind(full), ErrorKind::StorageFull);
    });
}

#[test]
fn bit_rot_flips_one_bit_of_synced_data_where_it_says() {
    run(1, config(), |h| async move {
        let n = node(&h);
        let disk = h.disk(n);
        let log = durable(&h, n, "/00.log", &[0; 10_000]).await;
        durable(&h, n, "/00.index", &[0; 100]).await;
        assert!(disk.bit_rot(&PathFilter::suffixes([".snapshot"]), 1).is_err(), "nothing matches");
        let hits = disk.bit_rot(&PathFilter::suffixes([".log"]), 2).unwrap();
        assert_eq!(hits.len(), 2);
        let mut expected = vec![0; 10_000];
        for hit in &hits {
            assert_eq!(hit.path, "/00.log");
            expected[hit.offset as usize] ^= 1 << hit.bit;
        }
        assert_eq!(log.read_at(0, 10_000).await.unwrap(), expected);
        assert_eq!(content(&h, n, "/00.index").await.unwrap(), [0; 100]);
        h.power_loss(n).unwrap();
        restart(&h, n);
        assert_eq!(content(&h, n, "/00.log").await.unwrap(), expected, "it stays");
        let all = disk.bit_rot(&PathFilter::any(), 100).unwrap();
        assert_eq!(all.len(), 4, "one bit in each synced page: {all:?}");
    });
}

#[test]
fn a_lying_disk_answers_and_syncs_nothing() {
    run(3, config(), |h| async move {
        let n = node(&h);
        let file = durable(&h, n, "/a", b"old").await;
        h.disk(n).lie_on_sync(true);
        write(&file, 0, b"new").await;
        file.sync_data().await.unwrap();
        assert_eq!(h.disk(n).files()[0].dirty_pages, 1);
        h.disk(n).lie_on_sync(false);
        file.sync_data().await.unwrap();
        assert_eq!(h.disk(n).files()[0].dirty_pages, 0);
    });
}

#[test]
fn an_operation_whose_future_was_dropped_still_happens() {
    run(1, config(), |h| async move {
        let n = node(&h);
        let file = create(&h, n, "/a").await;
        let nothing = within(&h, Duration::ZERO, file.write_at(0, vec![Bytes::from_static(b"late")])).await;
        assert!(nothing.is_none());
        assert_eq!(h.disk(n).files()[0].len, 0);
        sleep(&h, MS).await;
        assert_eq!(content(&h, n, "/a").await.unwrap(), b"late");
        let rt = h.runtime(n);
        assert!(within(&h, Duration::ZERO, rt.disk().lock(Path::new("/lock"))).await.is_none());
        sleep(&h, MS).await;
        rt.disk().lock(Path::new("/lock")).await.expect("an abandoned lock is not held");
    });
}

#[test]
fn an_operation_under_way_at_a_kill_happens_or_not() {
    let mut lens = std::collections::BTreeMap::new();
    for seed in 0..60 {
        let (len, _) = run(seed, config(), |h| async move {
            let n = node(&h);
            let file = create(&h, n, "/a").await;
            within(&h, Duration::ZERO, file.write_at(0, vec![Bytes::from(vec![1; 10_000])])).await;
            h.kill(n).unwrap();
            restart(&h, n);
            assert!(file.read_at(0, 1).await.is_err(), "a handle of the dead process is dead");
            content(&h, n, "/a").await.unwrap().len()
        });
        *lens.entry(len).or_insert(0) += 1;
    }
    assert!(lens.keys().copied().eq([0, 4096, 8192, 10_000]), "{lens:?}");
}

#[test]
fn a_lock_dies_with_its_process() {
    run(1, config(), |h| async move {
        let n = node(&h);
        let rt = h.runtime(n);
        let lock = rt.disk().lock(Path::new("/.lock")).await.unwrap();
        assert_eq!(kind(rt.disk().lock(Path::new("/.lock")).await.map(|_| ())), ErrorKind::WouldBlock);
        h.kill(n).unwrap();
        restart(&h, n);
        let rt = h.runtime(n);
        let _again = rt.disk().lock(Path::new("/.lock")).await.unwrap();
        drop(lock);
        assert_eq!(
            kind(rt.disk().lock(Path::new("/.lock")).await.map(|_| ())),
            ErrorKind::WouldBlock,
            "the old handle holds nothing any more"
        );
    });
}

#[test]
fn what_was_not_read_since_the_power_loss_is_cold() {
    run(1, config(), |h| async move {
        let n = node(&h);
        let file = durable(&h, n, "/a", &[1; 100]).await;
        assert!(file.try_read_at(0, 100).is_some());
        h.power_loss(n).unwrap();
        restart(&h, n);
        let file = h.runtime(n).disk().open(Path::new("/a"), OpenOptions::READ).await.unwrap();
        assert!(file.try_read_at(0, 100).is_none());
        let start = h.now();
        file.read_at(0, 100).await.unwrap();
        assert!(h.now().since(start) >= Duration::from_micros(60));
        assert_eq!(file.try_read_at(0, 100).unwrap().unwrap(), [1; 100][..]);
    });
}

#[test]
fn a_wiped_disk_is_empty_and_a_running_node_keeps_its_own() {
    run(1, config(), |h| async move {
        let n = node(&h);
        durable(&h, n, "/a", b"x").await;
        assert!(h.wipe_disk(n).is_err());
        h.kill(n).unwrap();
        h.wipe_disk(n).unwrap();
        restart(&h, n);
        assert!(h.disk(n).files().is_empty());
    });
}

#[test]
fn files_opened_for_reading_refuse_writes() {
    run(1, config(), |h| async move {
        let n = node(&h);
        durable(&h, n, "/a", b"x").await;
        let file = h.runtime(n).disk().open(Path::new("/a"), OpenOptions::READ).await.unwrap();
        assert!(file.write_at(0, vec![Bytes::from_static(b"y")]).await.is_err());
        assert!(file.set_len(0).await.is_err());
        assert_eq!(content(&h, n, "/a").await.unwrap(), b"x");
    });
}
