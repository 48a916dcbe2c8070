//! Streams: bytes arrive whole and in order, ends and resets are told apart, and an unread stream makes its
//! writer wait.

use crate::Env;
use crate::net::{StreamOf, pair};
use burnin_runtime::{Runtime, Stream, timeout};
use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// More than any window: a writer that gets this far was never made to wait.
const MORE_THAN_ANY_WINDOW: usize = 64 << 20;

/// Long enough for a stall to be one on a busy machine. A stall that is none costs coverage, never a failure.
const STALL: Duration = Duration::from_millis(300);

/// The byte at a position of the test pattern: no period that a buffer size could hide.
fn pattern(position: usize) -> u8 {
    ((position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn pattern_range(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(pattern).collect()
}

/// Sends `total` bytes of the pattern in chunks of odd sizes.
async fn send<W: AsyncWrite + Unpin>(writer: &mut W, total: usize) -> io::Result<()> {
    let mut sent = 0;
    while sent < total {
        let chunk = (1 + sent % 65_537).min(total - sent);
        writer.write_all(&pattern_range(sent, chunk)).await?;
        sent += chunk;
    }
    writer.flush().await
}

/// Reads to the end and compares with the pattern. Returns how many bytes there were.
async fn receive<T: AsyncRead + Unpin>(reader: &mut T, mut position: usize) -> io::Result<usize> {
    let mut buffer = vec![0; 10_007];
    loop {
        let read = reader.read(&mut buffer).await?;
        if read == 0 {
            return Ok(position);
        }
        let want = pattern_range(position, read);
        assert!(buffer[..read] == want[..], "bytes {position}..{} differ", position + read);
        position += read;
    }
}

async fn read_to_end<R: Runtime>(env: &Env<R>, stream: &mut StreamOf<R>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    env.soon("the end of the stream", stream.read_to_end(&mut bytes)).await.map(|_| bytes)
}

pub async fn drop_sends_everything_and_then_the_end<R: Runtime>(env: Env<R>) {
    const TOTAL: usize = 300_000;
    let (mut server, mut client) = pair(&env).await;
    let writer = env.peer.spawn("writer", async move {
        send(&mut client, TOTAL).await.expect("the bytes are sent");
        drop(client);
    });
    assert_eq!(env.soon("the end", receive(&mut server, 0)).await.expect("an orderly end"), TOTAL);
    env.soon("the writer ends", writer).await.expect("it ends");
}

pub async fn end_of_stream_is_repeated<R: Runtime>(env: Env<R>) {
    let (mut server, client) = pair(&env).await;
    drop(client);
    for _ in 0..3 {
        let read = env.soon("the end", server.read(&mut [0; 8])).await.expect("an orderly end");
        assert_eq!(read, 0);
    }
}

pub async fn shutdown_ends_one_direction_only<R: Runtime>(env: Env<R>) {
    let (mut server, mut client) = pair(&env).await;
    client.write_all(b"question").await.expect("sent");
    client.shutdown().await.expect("shut down");
    assert_eq!(read_to_end(&env, &mut server).await.expect("an orderly end"), b"question");
    server.write_all(b"answer").await.expect("the other direction is open");
    drop(server);
    assert_eq!(read_to_end(&env, &mut client).await.expect("an orderly end"), b"answer");
}

pub async fn dropped_write_half_ends_one_direction_only<R: Runtime>(env: Env<R>) {
    let (mut server, client) = pair(&env).await;
    let (mut read, mut write) = client.split();
    write.write_all(b"question").await.expect("sent");
    write.flush().await.expect("flushed");
    drop(write);
    assert_eq!(read_to_end(&env, &mut server).await.expect("an orderly end"), b"question");
    server.write_all(b"answer").await.expect("the other direction is open");
    drop(server);
    let mut answer = Vec::new();
    env.soon("the answer", read.read_to_end(&mut answer)).await.expect("an orderly end");
    assert_eq!(answer, b"answer");
}

pub async fn reset_on_drop_is_a_reset<R: Runtime>(env: Env<R>) {
    let (mut server, client) = pair(&env).await;
    client.set_reset_on_drop(true);
    drop(client);
    let error = read_to_end(&env, &mut server).await.expect_err("a reset is no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    let error = server.write_all(b"late").await.expect_err("nobody is there");
    assert!(is_broken(&error), "{error}");
}

pub async fn reset_on_drop_survives_split<R: Runtime>(env: Env<R>) {
    for read_first in [true, false] {
        let (mut server, client) = pair(&env).await;
        client.set_reset_on_drop(true);
        let (read, write) = client.split();
        if read_first {
            drop(read);
            drop(write);
        } else {
            drop(write);
            drop(read);
        }
        let error = read_to_end(&env, &mut server).await.expect_err("a reset is no orderly end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error} (read_first={read_first})");
    }
}

pub async fn reset_on_drop_can_be_taken_back<R: Runtime>(env: Env<R>) {
    let (mut server, mut client) = pair(&env).await;
    client.set_reset_on_drop(true);
    client.set_reset_on_drop(false);
    client.write_all(b"bye").await.expect("sent");
    client.flush().await.expect("flushed");
    drop(client);
    assert_eq!(read_to_end(&env, &mut server).await.expect("an orderly end"), b"bye");
}

fn is_broken(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

pub async fn write_to_a_gone_peer_fails<R: Runtime>(env: Env<R>) {
    let (server, mut client) = pair(&env).await;
    drop(server);
    // The first writes may still succeed: the peer's answer to them is what tells.
    let error = env
        .soon("a write fails", async {
            loop {
                let write = client.write_all(&[7; 1000]).await;
                if let Err(error) = write.and(client.flush().await) {
                    return error;
                }
                env.peer.sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    assert!(is_broken(&error), "{error}");
}

/// Writes until a write waits. Returns how much was taken.
async fn fill<R: Runtime>(env: &Env<R>, stream: &mut StreamOf<R>) -> usize {
    let mut sent = 0;
    while sent < MORE_THAN_ANY_WINDOW {
        let chunk = pattern_range(sent, 32_768);
        match timeout(&env.peer, STALL, stream.write(&chunk)).await {
            Some(written) => sent += written.expect("the connection is up"),
            None => return sent,
        }
    }
    panic!("{sent} bytes were taken for a peer that reads nothing");
}

pub async fn unread_bytes_make_the_writer_wait<R: Runtime>(env: Env<R>) {
    let (mut server, mut client) = pair(&env).await;
    let stalled_at = fill(&env, &mut client).await;
    assert!(stalled_at > 0, "not a single byte fits into the window");
    let rest = 1 << 20;
    let writer = env.peer.spawn("writer", async move {
        client.write_all(&pattern_range(stalled_at, rest)).await.expect("the writer goes on");
        client.flush().await.expect("the writer goes on");
    });
    let total = env.soon("all bytes", receive(&mut server, 0)).await.expect("an orderly end");
    assert_eq!(total, stalled_at + rest);
    env.soon("the writer ends", writer).await.expect("it ends");
}

pub async fn slow_reader_gets_every_byte<R: Runtime>(env: Env<R>) {
    const TOTAL: usize = 2 << 20;
    let (mut server, mut client) = pair(&env).await;
    let writer = env.peer.spawn("writer", async move { send(&mut client, TOTAL).await });
    let mut position = 0;
    let mut buffer = vec![0; 4_000];
    for round in 0..300 {
        if round % 20 == 0 {
            env.runtime.sleep(Duration::from_millis(1)).await;
        }
        let read = env.soon("bytes", server.read(&mut buffer)).await.expect("the connection is up");
        assert!(read > 0, "the stream ended at {position} of {TOTAL}");
        assert!(buffer[..read] == pattern_range(position, read)[..], "bytes at {position} differ");
        position += read;
    }
    let total = env.soon("the rest", receive(&mut server, position)).await.expect("an orderly end");
    assert_eq!(total, TOTAL);
    env.soon("the writer ends", writer).await.expect("it ends").expect("all is sent");
}

pub async fn stalled_connection_does_not_stall_another<R: Runtime>(env: Env<R>) {
    let (_stalled_server, mut stalled) = pair(&env).await;
    let (mut server, mut client) = pair(&env).await;
    fill(&env, &mut stalled).await;
    client.write_all(b"through").await.expect("sent");
    drop(client);
    assert_eq!(read_to_end(&env, &mut server).await.expect("an orderly end"), b"through");
}

pub async fn read_waits_for_bytes<R: Runtime>(env: Env<R>) {
    let (mut server, mut client) = pair(&env).await;
    let mut byte = [0];
    let early = timeout(&env.runtime, Duration::from_millis(20), server.read(&mut byte)).await;
    assert!(early.is_none(), "read gave {early:?} before anything was written");
    client.write_all(&[9]).await.expect("sent");
    client.flush().await.expect("flushed");
    assert_eq!(env.soon("the byte", server.read(&mut byte)).await.expect("it arrives"), 1);
    assert_eq!(byte, [9]);
}

pub async fn dropped_read_loses_nothing<R: Runtime>(env: Env<R>) {
    const TOTAL: usize = 200;
    let (mut server, mut client) = pair(&env).await;
    let peer = env.peer.clone();
    let writer = env.peer.spawn("writer", async move {
        for position in 0..TOTAL {
            if position % 10 == 0 {
                peer.sleep(Duration::from_micros(700)).await;
            }
            client.write_all(&[pattern(position)]).await.expect("sent");
            client.flush().await.expect("flushed");
        }
    });
    let mut position = 0;
    let mut buffer = [0; 16];
    env.soon("all bytes", async {
        loop {
            let patience = Duration::from_micros(300);
            let Some(read) = timeout(&env.runtime, patience, server.read(&mut buffer)).await else {
                continue;
            };
            let read = read.expect("the connection is up");
            if read == 0 {
                break;
            }
            assert_eq!(&buffer[..read], &pattern_range(position, read)[..], "bytes at {position} differ");
            position += read;
        }
    })
    .await;
    assert_eq!(position, TOTAL);
    env.soon("the writer ends", writer).await.expect("it ends");
}

pub async fn flushed_bytes_arrive_without_more<R: Runtime>(env: Env<R>) {
    let (mut server, mut client) = pair(&env).await;
    for round in 0..5u8 {
        client.write_all(&[round]).await.expect("sent");
        client.flush().await.expect("flushed");
        let mut byte = [255];
        env.soon("the flushed byte", server.read_exact(&mut byte)).await.expect("it arrives");
        assert_eq!(byte, [round]);
    }
}

pub async fn both_directions_at_once<R: Runtime>(env: Env<R>) {
    const TOTAL: usize = 3 << 20;
    let (server, client) = pair(&env).await;
    let ((mut server_read, mut server_write), (mut client_read, mut client_write)) =
        (server.split(), client.split());
    // Each side's writer drops its half at the end, which is what ends the other side's reader.
    let to_client = env.runtime.spawn("server writer", async move { send(&mut server_write, TOTAL).await });
    let to_server = env.peer.spawn("client writer", async move { send(&mut client_write, TOTAL).await });
    let at_client = env.peer.spawn("client reader", async move { receive(&mut client_read, 0).await });
    let at_server = env.soon("the server's bytes", receive(&mut server_read, 0)).await;
    assert_eq!(at_server.expect("an orderly end"), TOTAL);
    let at_client = env.soon("the client's bytes", at_client).await.expect("the reader ends");
    assert_eq!(at_client.expect("an orderly end"), TOTAL);
    for writer in [to_client, to_server] {
        env.soon("the writers end", writer).await.expect("it ends").expect("all is sent");
    }
}

pub async fn vectored_writes_keep_their_order<R: Runtime>(env: Env<R>) {
    const TOTAL: usize = 500_000;
    let (mut server, mut client) = pair(&env).await;
    let writer = env.peer.spawn("writer", async move {
        let mut sent = 0;
        while sent < TOTAL {
            let bytes = pattern_range(sent, 9_000.min(TOTAL - sent));
            let (head, tail) = bytes.split_at(bytes.len() / 3);
            let slices = [IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(tail)];
            let written = client.write_vectored(&slices).await.expect("sent");
            assert!(written > 0, "a write took nothing");
            sent += written;
        }
        client.flush().await.expect("flushed");
    });
    assert_eq!(env.soon("all bytes", receive(&mut server, 0)).await.expect("an orderly end"), TOTAL);
    env.soon("the writer ends", writer).await.expect("it ends");
}
