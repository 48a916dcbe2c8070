//! Files: content. Writes at offsets, reads to the end, sizes, syncs, many at once.

use crate::Env;
use burnin_runtime::{Disk, File, OpenOptions, Runtime, timeout};
use bytes::Bytes;
use std::time::Duration;

type FileOf<R> = <<R as Runtime>::Disk as Disk>::File;

async fn create<R: Runtime>(env: &Env<R>) -> FileOf<R> {
    let (disk, dir) = env.disk().await;
    disk.open(&dir.join("file"), OpenOptions::CREATE_NEW).await.expect("the file can be created")
}

async fn write<F: File>(file: &F, offset: u64, content: &[u8]) {
    file.write_at(offset, vec![Bytes::copy_from_slice(content)]).await.expect("the file can be written");
}

async fn read<F: File>(file: &F, offset: u64, len: usize) -> Bytes {
    file.read_at(offset, len).await.expect("the file can be read")
}

/// The byte at a position of the test pattern.
fn pattern(position: usize) -> u8 {
    ((position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

pub async fn several_buffers_are_written_in_order<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    let buffers = [&b"one"[..], b"", b"two", b"three", b""].map(Bytes::from_static).to_vec();
    file.write_at(2, buffers).await.expect("written");
    assert_eq!(read(&file, 0, 100).await, &b"\0\0onetwothree"[..]);
    file.write_at(7, Vec::new()).await.expect("nothing is written");
    file.write_at(70, vec![Bytes::new()]).await.expect("nothing is written");
    assert_eq!(file.len().await.expect("it has a size"), 13, "writing nothing changed the size");
}

pub async fn thousands_of_buffers_are_written<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    let whole: Vec<u8> = (0..20_000).map(pattern).collect();
    let mut rest = Bytes::from(whole.clone());
    let mut buffers = Vec::new();
    while !rest.is_empty() {
        buffers.push(rest.split_to((1 + buffers.len() % 7).min(rest.len())));
    }
    assert!(buffers.len() > 4_000, "more than one system call takes");
    file.write_at(0, buffers).await.expect("written");
    assert!(read(&file, 0, whole.len() + 1).await == whole, "the content differs");
}

pub async fn large_writes_and_reads_are_whole<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    let whole: Vec<u8> = (0..4 << 20).map(pattern).collect();
    file.write_at(1, vec![Bytes::from(whole.clone())]).await.expect("written");
    assert!(read(&file, 1, whole.len()).await == whole, "the content differs");
    assert!(read(&file, 1_000_001, 50).await == whole[1_000_000..1_000_050], "a part differs");
}

pub async fn overwrite_changes_its_range_only<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    write(&file, 0, b"0123456789").await;
    write(&file, 3, b"abc").await;
    assert_eq!(read(&file, 0, 100).await, &b"012abc6789"[..]);
    write(&file, 9, b"XYZ").await;
    assert_eq!(read(&file, 0, 100).await, &b"012abc678XYZ"[..]);
}

pub async fn holes_read_as_zeros<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    write(&file, 100_000, b"end").await;
    assert_eq!(file.len().await.expect("it has a size"), 100_003);
    let content = read(&file, 0, 200_000).await;
    assert_eq!(content.len(), 100_003);
    assert!(content[..100_000].iter().all(|&byte| byte == 0), "a hole is not zero");
    assert_eq!(content[100_000..], b"end"[..]);
}

pub async fn reads_are_short_at_the_end_only<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    assert_eq!(read(&file, 0, 10).await, &b""[..], "an empty file has no bytes");
    write(&file, 0, b"0123456789").await;
    assert_eq!(read(&file, 2, 3).await, &b"234"[..]);
    assert_eq!(read(&file, 7, 100).await, &b"789"[..]);
    assert_eq!(read(&file, 10, 100).await, &b""[..]);
    assert_eq!(read(&file, 1_000_000, 100).await, &b""[..]);
    assert_eq!(read(&file, 5, 0).await, &b""[..]);
}

pub async fn cached_read_agrees_or_abstains<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    let whole: Vec<u8> = (0..300_000).map(pattern).collect();
    write(&file, 0, &whole).await;
    for (offset, len) in
        [(0, 10), (4_090, 20), (0, 300_000), (299_990, 100), (300_000, 5), (900_000, 5), (7, 0)]
    {
        if let Some(cached) = file.try_read_at(offset, len) {
            let cached = cached.expect("a cached read");
            assert!(cached == read(&file, offset, len).await, "offset={offset} len={len}: two answers");
        }
    }
    write(&file, 4_095, b"new").await;
    if let Some(cached) = file.try_read_at(4_094, 5) {
        let want = [whole[4_094], b'n', b'e', b'w', whole[4_098]];
        assert_eq!(cached.expect("a cached read"), &want[..], "the cache is stale");
    }
}

pub async fn set_len_cuts_and_extends<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    write(&file, 0, b"0123456789").await;
    file.set_len(4).await.expect("cut");
    assert_eq!(read(&file, 0, 100).await, &b"0123"[..]);
    file.set_len(8).await.expect("extended");
    assert_eq!(read(&file, 0, 100).await, &b"0123\0\0\0\0"[..], "what was cut came back");
    write(&file, 8, b"89").await;
    assert_eq!(read(&file, 0, 100).await, &b"0123\0\0\0\089"[..]);
    file.set_len(0).await.expect("cut");
    assert_eq!(file.len().await.expect("it has a size"), 0);
}

pub async fn len_follows_writes<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    for (offset, content, want) in [(0, &b"12345"[..], 5), (2, b"x", 5), (4, b"yz", 6), (10, b"!", 11)] {
        write(&file, offset, content).await;
        assert_eq!(file.len().await.expect("it has a size"), want);
    }
}

pub async fn read_only_file_refuses_writes<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    write(&create(&env).await, 0, b"content").await;
    let file = disk.open(&dir.join("file"), OpenOptions::READ).await.expect("it exists");
    let written = file.write_at(0, vec![Bytes::from_static(b"X")]).await;
    assert!(written.is_err(), "a file that was opened for reading was written");
    assert!(file.set_len(1).await.is_err(), "a file that was opened for reading was cut");
    assert_eq!(read(&file, 0, 100).await, &b"content"[..]);
}

pub async fn handles_share_the_file<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let first = create(&env).await;
    let second = disk.open(&dir.join("file"), OpenOptions::WRITE).await.expect("it exists");
    let clone = first.clone();
    write(&first, 0, b"first").await;
    assert_eq!(read(&second, 0, 100).await, &b"first"[..]);
    write(&second, 5, b"second").await;
    drop(first);
    assert_eq!(read(&clone, 0, 100).await, &b"firstsecond"[..]);
}

pub async fn synced_content_is_there_after_reopening<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let file = create(&env).await;
    write(&file, 0, b"content").await;
    file.sync_data().await.expect("synced");
    disk.sync_dir(&dir).await.expect("synced");
    drop(file);
    let file = disk.open(&dir.join("file"), OpenOptions::READ).await.expect("it exists");
    assert_eq!(read(&file, 0, 100).await, &b"content"[..]);
    file.sync_data().await.expect("nothing to sync is fine");
}

pub async fn impossible_offsets_are_errors<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    for offset in [u64::MAX, u64::MAX - 1, i64::MAX as u64] {
        let written = file.write_at(offset, vec![Bytes::from_static(b"far")]).await;
        assert!(written.is_err(), "offset={offset}: written");
        assert!(file.read_at(offset, 10).await.is_err(), "offset={offset}: read");
        assert!(file.try_read_at(offset, 10).is_none_or(|read| read.is_err()), "offset={offset}: read");
    }
    assert_eq!(file.len().await.expect("it has a size"), 0);
}

pub async fn concurrent_writes_all_arrive<R: Runtime>(env: Env<R>) {
    const BLOCK: usize = 777;
    const BLOCKS: usize = 64;
    let file = create(&env).await;
    let writers: Vec<_> = (0..BLOCKS)
        .map(|block| {
            let file = file.clone();
            env.runtime.spawn("writer", async move {
                let bytes: Vec<u8> = (block * BLOCK..(block + 1) * BLOCK).map(pattern).collect();
                write(&file, (block * BLOCK) as u64, &bytes).await;
                if block % 8 == 0 {
                    file.sync_data().await.expect("synced");
                }
                assert!(read(&file, (block * BLOCK) as u64, BLOCK).await == bytes, "block {block} differs");
            })
        })
        .collect();
    for writer in writers {
        env.soon("a writer", writer).await.expect("the writer ends");
    }
    let want: Vec<u8> = (0..BLOCK * BLOCKS).map(pattern).collect();
    assert!(read(&file, 0, BLOCK * BLOCKS + 1).await == want, "the content differs");
}

pub async fn dropped_operation_leaves_the_file_usable<R: Runtime>(env: Env<R>) {
    let file = create(&env).await;
    write(&file, 0, &[1; 100]).await;
    for _ in 0..20 {
        let write = file.write_at(0, vec![Bytes::from_static(&[1; 100])]);
        // Started or not, ended or not: the write of what is there changes nothing.
        let _ = timeout(&env.runtime, Duration::ZERO, write).await;
        let _ = timeout(&env.runtime, Duration::ZERO, file.read_at(0, 10)).await;
        let _ = timeout(&env.runtime, Duration::ZERO, file.sync_data()).await;
    }
    env.soon("sync", file.sync_data()).await.expect("synced");
    write(&file, 100, &[2; 100]).await;
    let content = env.soon("read", file.read_at(0, 1_000)).await.expect("read");
    assert_eq!(content, [[1; 100], [2; 100]].concat());
}
