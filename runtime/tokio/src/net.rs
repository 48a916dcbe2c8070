//! The network: TCP as the operating system gives it.
//!
//! - `TCP_NODELAY` is on, so `flush` has nothing to do and a small answer does not wait for an ACK.
//! - Listeners set `SO_REUSEADDR`, so that a restarted broker gets its port back while old connections are in
//!   TIME_WAIT. A second listener on the port is still refused.
//! - What Linux does that the contract does not mention: a stream that is dropped with bytes that arrived and
//!   were not read is reset, not ended in order. Read to the end before dropping when the peer must get all.

use burnin_runtime::{Listener, Net, Stream};
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

/// How many connections may wait to be accepted (the kernel caps it at `net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// The host's network.
#[derive(Clone, Copy, Debug)]
pub struct TokioNet;

impl Net for TokioNet {
    type Stream = TokioStream;
    type Listener = TokioListener;

    async fn listen(&self, address: SocketAddr) -> io::Result<TokioListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let inner = socket.listen(BACKLOG)?;
        Ok(TokioListener { local: inner.local_addr()?, inner })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TokioStream> {
        let stream = TokioStream::new(TcpStream::connect(address).await?, address)?;
        // A connect to a free ephemeral port of this host can pick that very port as its own, and TCP's
        // simultaneous open then connects the socket to itself.
        if stream.local == stream.peer {
            stream.set_reset_on_drop(true);
            return Err(ErrorKind::ConnectionRefused.into());
        }
        Ok(stream)
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        Ok(lookup_host((host, port)).await?.collect())
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct TokioListener {
    inner: TcpListener,
    local: SocketAddr,
}

impl Listener for TokioListener {
    type Stream = TokioStream;

    /// An error that belongs to the connection alone is skipped. The others, such as too many open files,
    /// are returned and may pass: wait a moment before the next call.
    async fn accept(&mut self) -> io::Result<(TokioStream, SocketAddr)> {
        loop {
            match self.inner.accept().await {
                Ok((inner, peer)) => {
                    if let Ok(stream) = TokioStream::new(inner, peer) {
                        return Ok((stream, peer));
                    }
                }
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct TokioStream {
    inner: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    reset: AtomicBool,
}

impl TokioStream {
    fn new(inner: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        inner.set_nodelay(true)?;
        Ok(TokioStream { local: inner.local_addr()?, peer, inner, reset: AtomicBool::new(false) })
    }
}

impl Stream for TokioStream {
    type Read = OwnedReadHalf;
    type Write = TokioWrite;

    fn split(self) -> (OwnedReadHalf, TokioWrite) {
        let reset = self.reset.load(Ordering::Relaxed);
        let (read, write) = self.inner.into_split();
        (read, TokioWrite { half: Some(write), reset })
    }

    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn set_reset_on_drop(&self, reset: bool) {
        let linger = reset.then_some(Duration::ZERO);
        set_socket_linger(&self.inner, linger).expect("SO_LINGER can be set on a TCP socket");
        self.reset.store(reset, Ordering::Relaxed);
    }
}

impl AsyncRead for TokioStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for TokioStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The writing half of a connection. Dropping it sends FIN, or nothing when the stream is to be reset: the
/// reset then follows with the reading half.
#[derive(Debug)]
pub struct TokioWrite {
    /// `Some` until the drop.
    half: Option<OwnedWriteHalf>,
    reset: bool,
}

impl TokioWrite {
    fn half(&mut self) -> Pin<&mut OwnedWriteHalf> {
        Pin::new(self.half.as_mut().expect("only the drop takes the half"))
    }
}

impl Drop for TokioWrite {
    fn drop(&mut self) {
        let half = self.half.take().expect("only the drop takes the half");
        if self.reset {
            half.forget();
        }
    }
}

impl AsyncWrite for TokioWrite {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.half().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.half().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half().poll_shutdown(cx)
    }
}
