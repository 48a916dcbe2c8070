//! Streams: handles of one side of a connection, whole or in halves. Writing copies into the connection's
//! ring at once, so `flush` has nothing to do.

use super::ConnId;
use crate::world::World;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One side of a connection, without its `Drop`.
#[derive(Clone)]
struct End {
    world: World,
    id: ConnId,
    side: usize,
}

impl End {
    fn read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (id, side) = (self.id, self.side);
        self.world.with(|s| {
            let Some(conn) = s.conn_by_id(id) else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            };
            let pipe = &mut conn.pipes[1 - side];
            if pipe.readable > 0 {
                let bytes = buf.remaining().min(pipe.readable);
                let (first, second) = pipe.ring.as_slices();
                let from_first = bytes.min(first.len());
                buf.put_slice(&first[..from_first]);
                buf.put_slice(&second[..bytes - from_first]);
                pipe.ring.drain(..bytes);
                pipe.readable -= bytes;
                s.net_consumed(id.index, 1 - side, bytes);
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = conn.sides[side].error {
                return Poll::Ready(Err(error.into()));
            }
            if pipe.eof || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let wake = s.waker(cx);
            let conn = s.conn_by_id(id).expect("it was there above");
            if let Some(old) = conn.sides[side].read_wake.replace(wake) {
                s.forget(old);
            }
            Poll::Pending
        })
    }

    fn write(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (id, side) = (self.id, self.side);
        self.world.with(|s| match s.net_write(id, side, data) {
            Ok(Some(bytes)) => Poll::Ready(Ok(bytes)),
            Err(error) => Poll::Ready(Err(error)),
            Ok(None) => {
                let wake = s.waker(cx);
                let conn = s.conn_by_id(id).expect("its window is full");
                if let Some(old) = conn.sides[side].write_wake.replace(wake) {
                    s.forget(old);
                }
                Poll::Pending
            }
        })
    }

    fn shutdown(&self) {
        self.world.with(|s| {
            if s.conn_by_id(self.id).is_some() {
                s.net_finish(self.id.index, self.side);
            }
        });
    }

    /// Lets go of one half or both; the last one closes the socket.
    fn close(&self, reading: bool, writing: bool) {
        self.world.with_if_there(|s| {
            let Some(conn) = s.conn_by_id(self.id) else { return };
            let side = &mut conn.sides[self.side];
            side.reading &= !reading;
            side.writing &= !writing;
            if !side.reading && !side.writing {
                s.net_close(self.id.index, self.side, false);
            } else if writing && !side.reset_on_drop {
                s.net_finish(self.id.index, self.side);
            }
        });
    }

    fn address(&self, side: usize) -> SocketAddr {
        self.world
            .with(|s| s.conn_by_id(self.id).map(|conn| conn.sides[side].addr))
            .unwrap_or_else(no_address)
    }
}

/// What a socket of a stopped process gives.
fn no_address() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

macro_rules! reads {
    ($type:ty) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.0.read(cx, buf)
            }
        }
    };
}

macro_rules! writes {
    ($type:ty) => {
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.0.write(cx, &[IoSlice::new(data)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.0.write(cx, data)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.shutdown();
                Poll::Ready(Ok(()))
            }
        }
    };
}

/// A connection.
pub struct SimStream(Whole);

/// The reading half of a connection.
pub struct SimRead(Reading);

/// The writing half of a connection.
pub struct SimWrite(Writing);

struct Whole(Option<End>);
struct Reading(End);
struct Writing(End);

impl std::ops::Deref for Whole {
    type Target = End;
    fn deref(&self) -> &End {
        self.0.as_ref().expect("only `split` empties it, by value")
    }
}

impl std::ops::Deref for Reading {
    type Target = End;
    fn deref(&self) -> &End {
        &self.0
    }
}

impl std::ops::Deref for Writing {
    type Target = End;
    fn deref(&self) -> &End {
        &self.0
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(end) = &self.0 {
            end.close(true, true);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.close(true, false);
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.close(false, true);
    }
}

reads!(SimStream);
writes!(SimStream);
reads!(SimRead);
writes!(SimWrite);

impl SimStream {
    pub(super) fn new(world: World, id: ConnId, side: usize) -> Self {
        SimStream(Whole(Some(End { world, id, side })))
    }
}

impl burnin_runtime::Stream for SimStream {
    type Read = SimRead;
    type Write = SimWrite;

    fn split(mut self) -> (SimRead, SimWrite) {
        let end = self.0.0.take().expect("a stream that was not split");
        (SimRead(Reading(end.clone())), SimWrite(Writing(end)))
    }

    fn peer_addr(&self) -> SocketAddr {
        self.0.address(1 - self.0.side)
    }

    fn local_addr(&self) -> SocketAddr {
        self.0.address(self.0.side)
    }

    fn set_reset_on_drop(&self, reset: bool) {
        self.0.world.with(|s| {
            if let Some(conn) = s.conn_by_id(self.0.id) {
                conn.sides[self.0.side].reset_on_drop = reset;
            }
        });
    }
}
