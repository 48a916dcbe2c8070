//! One connection: one task that reads frames, handles requests in order, and writes responses in that order.
//!
//! The task is a hand-written poll loop rather than a reader and a writer, so that a request costs no task, no
//! channel and no lock. A request is handled at once when it comes in; what has to wait (durability, a long poll)
//! waits in `pending` while further requests are read, up to [`PENDING_MAX`]. Only the first of `pending` is
//! polled: responses go out in the order of requests, as the protocol demands.

use crate::frames::FrameReader;
use crate::reply::{Pending, Reply};
use crate::shared::{Client, Shared};
use burnin_runtime::{Instant, Net, Runtime, Stream};
use burnin_wire::{Parts, RequestError, versions};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tracing::debug;

/// Requests of one connection that are read and not answered.
const PENDING_MAX: usize = 256;
/// Bytes of responses that wait for the socket; no further response is made beyond.
const OUT_HIGH: usize = 1024 * 1024;
/// Requests that are handled before responses get their turn.
const TURN: usize = 64;

type Read<R> = <<<R as Runtime>::Net as Net>::Stream as Stream>::Read;
type Write<R> = <<<R as Runtime>::Net as Net>::Stream as Stream>::Write;

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The client closed, was idle for too long, or the broker stops.
    Orderly(&'static str),
    /// An I/O error.
    Broken(std::io::Error),
    /// The client sent what cannot be understood or answered.
    Refused(String),
}

struct Entry<R: Runtime> {
    pending: Pending<R>,
    /// Of the request, to be given back with the response.
    memory: usize,
}

pub(crate) struct Connection<R: Runtime> {
    shared: Arc<Shared<R>>,
    id: u64,
    client: Client,
    read: Read<R>,
    write: Write<R>,
    frames: FrameReader,
    /// Bytes taken from the request memory for the frame that is being read.
    taken: Option<usize>,
    pending: VecDeque<Entry<R>>,
    out: Parts,
    unflushed: bool,
    ended: Option<&'static str>,
    timer: Option<R::Sleep>,
    timer_at: Instant,
    active_at: Instant,
    /// The waker under which the connection is known to those who stop it.
    waker: Option<Waker>,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<R: Runtime>(
    shared: Arc<Shared<R>>,
    stream: <R::Net as Net>::Stream,
    id: u64,
    listener: usize,
) {
    let client = Client { peer: stream.peer_addr(), local: stream.local_addr(), listener };
    let (read, write) = stream.split();
    let now = shared.runtime.now();
    let mut connection = Connection {
        frames: FrameReader::new(shared.config.request_max_bytes),
        shared,
        id,
        client,
        read,
        write,
        taken: None,
        pending: VecDeque::new(),
        out: Parts::new(),
        unflushed: false,
        ended: None,
        timer: None,
        timer_at: Instant::FAR_FUTURE,
        active_at: now,
        waker: None,
    };
    let end = poll_fn(|cx| connection.poll(cx)).await;
    let peer = connection.client.peer;
    match end {
        End::Orderly(reason) => debug!(%peer, reason, "connection closed"),
        End::Broken(error) => debug!(%peer, %error, "connection broke"),
        End::Refused(reason) => debug!(%peer, reason, "connection refused"),
    }
}

impl<R: Runtime> Drop for Connection<R> {
    fn drop(&mut self) {
        let held: usize = self.pending.iter().map(|entry| entry.memory).sum();
        self.shared.memory.give_back(held + self.taken.unwrap_or(0));
        self.shared.memory.forget(self.id);
        self.shared.connections.close(self.id, self.client.peer.ip());
    }
}

impl<R: Runtime> Connection<R> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.shared.connections.is_stopping(self.id, &mut self.waker, cx) {
            self.stop();
        }
        loop {
            let progress = match self.advance(cx) {
                Ok(progress) => progress,
                Err(end) => return Poll::Ready(end),
            };
            if let Some(reason) = self.ended
                && self.pending.is_empty()
                && self.out.is_empty()
                && !self.unflushed
            {
                return Poll::Ready(End::Orderly(reason));
            }
            if !progress {
                break;
            }
        }
        match self.poll_timer(cx) {
            Poll::Ready(reason) => Poll::Ready(End::Orderly(reason)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// One round of reading, answering and writing. Whether anything moved.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut progress = self.take_in(cx)?;
        progress |= self.answer(cx);
        progress |= self.send(cx)?;
        Ok(progress)
    }

    /// Reads nothing more, answers what is pending, and ends.
    fn stop(&mut self) {
        self.ended.get_or_insert("the broker stops");
        while self.pending.back().is_some_and(|entry| entry.pending.is_abandoned_on_stop()) {
            let entry = self.pending.pop_back().expect("there is a last one");
            self.shared.memory.give_back(entry.memory);
        }
    }

    fn may_read(&self) -> bool {
        self.ended.is_none()
            && self.pending.len() < PENDING_MAX
            && self.out.len() < OUT_HIGH
            && !self.pending.back().is_some_and(|entry| entry.pending.is_barrier())
    }

    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut handled = 0;
        while self.may_read() && handled < TURN {
            let refused = |error| End::Refused(format!("{error}"));
            if let Some(length) = self.frames.next_length().map_err(refused)? {
                if self.taken.is_none() {
                    match self.shared.memory.poll_take(self.id, length, cx) {
                        Poll::Ready(()) => self.taken = Some(length),
                        Poll::Pending => break,
                    }
                }
                if let Some(frame) = self.frames.next_frame().map_err(refused)? {
                    handled += 1;
                    let memory = self.taken.take().unwrap_or(0);
                    self.handle(frame, memory)?;
                    continue;
                }
            }
            match self.frames.poll_read(&mut self.read, cx) {
                Poll::Ready(Ok(0)) => {
                    // Requests that are pending were received whole: they are carried out, and nobody waits for
                    // their responses.
                    self.ended = Some("the client closed");
                    self.stop();
                }
                Poll::Ready(Ok(_)) => self.active_at = self.shared.runtime.now(),
                Poll::Ready(Err(error)) => return Err(End::Broken(error)),
                Poll::Pending => break,
            }
        }
        Ok(handled > 0)
    }

    fn handle(&mut self, frame: Bytes, memory: usize) -> Result<(), End> {
        let (mut header, request) = match burnin_wire::decode_request(frame) {
            Ok(decoded) => decoded,
            Err(RequestError::UnsupportedVersion {
                api: burnin_wire::Api::ApiVersions,
                correlation_id,
                ..
            }) => {
                let parts = versions::unsupported_api_versions(correlation_id);
                self.pending.push_back(Entry { pending: Pending::Encoded(parts), memory });
                return Ok(());
            }
            Err(error) => {
                self.shared.memory.give_back(memory);
                return Err(End::Refused(error.to_string()));
            }
        };
        let newest = *self.shared.config.release.versions(header.api).end();
        if header.version > newest {
            self.shared.memory.give_back(memory);
            let (api, version) = (header.api, header.version);
            return Err(End::Refused(format!(
                "unsupported version {version} of {api} (known: up to {newest})"
            )));
        }
        let reply = crate::handlers::handle(&self.shared, &self.client, &header, request);
        // The id is a slice of the read buffer, and nobody needs it for the response.
        header.client_id = None;
        match reply {
            Reply::Nothing => self.shared.memory.give_back(memory),
            Reply::Close(reason) => {
                self.shared.memory.give_back(memory);
                return Err(End::Refused(reason));
            }
            reply => self.pending.push_back(Entry { pending: Pending::new(header, reply), memory }),
        }
        Ok(())
    }

    /// Moves the responses that are due to `out`.
    fn answer(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while self.out.len() < OUT_HIGH
            && let Some(entry) = self.pending.front_mut()
        {
            match entry.pending.poll(&self.shared, cx) {
                Poll::Pending => break,
                Poll::Ready(parts) => parts.iter().for_each(|part| self.out.push(part.clone())),
            }
            let entry = self.pending.pop_front().expect("it was just polled");
            self.shared.memory.give_back(entry.memory);
            progress = true;
        }
        progress
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        match self.poll_send(cx) {
            Poll::Ready(Ok(wrote)) => Ok(wrote),
            Poll::Ready(Err(error)) => Err(End::Broken(error)),
            Poll::Pending => Ok(false),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<bool>> {
        let mut wrote = false;
        while self.out.has_remaining() {
            let written = ready!(pin!(self.write.write_buf(&mut self.out)).poll(cx))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            wrote = true;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.write).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(wrote))
    }

    /// The one timer of a connection: the deadline of the first pending response, or idleness. It may fire
    /// early, which costs one wake-up; it is never re-armed for a later time.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        loop {
            let deadline = self.deadline();
            if deadline < self.timer_at {
                self.timer = Some(self.shared.runtime.sleep_until(deadline));
                self.timer_at = deadline;
            }
            let Some(timer) = &mut self.timer else { return Poll::Pending };
            ready!(Pin::new(timer).poll(cx));
            (self.timer, self.timer_at) = (None, Instant::FAR_FUTURE);
            let now = self.shared.runtime.now();
            if self.pending.is_empty() && self.idle_at() <= now {
                return Poll::Ready("idle for too long");
            }
            if self.pending.front().is_some_and(|entry| entry.pending.deadline() <= now) {
                // The deadline is seen by the pending response itself.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn deadline(&self) -> Instant {
        match self.pending.front() {
            Some(entry) => entry.pending.deadline(),
            None => self.idle_at(),
        }
    }

    fn idle_at(&self) -> Instant {
        match self.shared.config.connections_max_idle_ms {
            Some(idle) => self.active_at + Duration::from_millis(idle),
            None => Instant::FAR_FUTURE,
        }
    }
}
