//! The network. The contract:
//! - a stream is a pair of reliable, ordered byte pipes; bytes are never lost, repeated or reordered in the
//!   middle of a stream: it stalls, ends (read gives 0 bytes) or breaks (an error);
//! - dropping a stream, or both of its halves, sends what was written and then an orderly end (FIN);
//!   [`Stream::set_reset_on_drop`] makes the drop a reset (RST) instead;
//! - a write may wait: the peer's window is bounded, and a peer that does not read exerts backpressure;
//! - written bytes may stay in a buffer until `flush`: always flush when waiting for an answer;
//! - `connect` can be refused, time out, or hang for as long as the other side stays silent: wrap it in
//!   [`crate::timeout`];
//! - errors use `std::io::ErrorKind` as the operating system does: `ConnectionRefused`, `ConnectionReset`,
//!   `BrokenPipe`, `TimedOut`, `AddrInUse`, `HostUnreachable`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};

/// The network as one node sees it.
pub trait Net: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: Stream;
    /// A bound, listening socket.
    type Listener: Listener<Stream = Self::Stream>;

    /// Binds and listens. Port 0 picks a free port. A port in use gives `AddrInUse`.
    fn listen(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Opens a connection.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The addresses of `host:port`; an IP literal resolves to itself. In a simulation node names resolve.
    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// A bound, listening socket.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: Stream;

    /// The next incoming connection and its peer.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens, with the port that was picked.
    fn local_addr(&self) -> SocketAddr;
}

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The reading half.
    type Read: AsyncRead + Send + Unpin + 'static;
    /// The writing half. Dropping it ends the outgoing direction.
    type Write: AsyncWrite + Send + Unpin + 'static;

    /// Splits into halves that different tasks can own.
    fn split(self) -> (Self::Read, Self::Write);

    /// The other side.
    fn peer_addr(&self) -> SocketAddr;

    /// Our side.
    fn local_addr(&self) -> SocketAddr;

    /// Whether dropping the stream resets it instead of ending it in order. Must be set before `split`.
    fn set_reset_on_drop(&self, reset: bool);
}
