//! Moves the bytes of an established connection: requests out, answers in, one timer for the earliest
//! deadline. Polled by hand, so that one wake-up of one task serves both directions and every answer that
//! arrived together.

use super::{Connection, Queued, Reply, RequestFailure, Versions};
use burnin_runtime::{Instant, Net, Runtime};
use burnin_wire::{Api, Parts, Response, decode_response, encode_request, response_correlation_id};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncReadExt, AsyncWrite};

/// What is allocated at a time for what comes in.
const READ_BYTES: usize = 16 * 1024;
/// With less room than this a read is not worth its while.
const ROOM_MIN: usize = 1024;

struct InFlight {
    correlation_id: i32,
    api: Api,
    version: i16,
    deadline: Instant,
    answered: bool,
    /// Position in the outgoing stream where the request begins and ends.
    begins: u64,
    ends: u64,
    reply: Reply,
}

/// Bounds of a pump.
#[derive(Clone)]
pub(super) struct Limits {
    pub in_flight_max: usize,
    pub response_bytes_max: usize,
    pub answers: Arc<AtomicU64>,
}

/// One established connection.
pub(super) struct Pump<'a, R: Runtime> {
    runtime: &'a R,
    connection: &'a Connection,
    client_id: &'a str,
    limits: Limits,
    versions: Versions,
    stream: <R::Net as Net>::Stream,
    next_correlation_id: i32,
    in_flight: VecDeque<InFlight>,
    outgoing: VecDeque<Parts>,
    queued_bytes: u64,
    written_bytes: u64,
    unflushed: bool,
    incoming: BytesMut,
    timer: Option<(Instant, R::Sleep)>,
}

/// Why the connection is over.
pub(super) enum End {
    Broken(Arc<str>),
    TimedOut,
    Closed,
}

impl<'a, R: Runtime> Pump<'a, R> {
    pub fn new(
        runtime: &'a R,
        connection: &'a Connection,
        client_id: &'a str,
        limits: Limits,
        stream: <R::Net as Net>::Stream,
    ) -> Self {
        Pump {
            runtime,
            connection,
            client_id,
            limits,
            versions: Versions::default(),
            stream,
            next_correlation_id: 0,
            in_flight: VecDeque::new(),
            outgoing: VecDeque::new(),
            queued_bytes: 0,
            written_bytes: 0,
            unflushed: false,
            incoming: BytesMut::new(),
            timer: None,
        }
    }

    /// Sends one request in a version of the caller's choice and waits for its frame. For the exchange of
    /// versions, before anything else uses the connection.
    pub async fn exchange(
        &mut self,
        version: i16,
        request: &burnin_wire::Request,
    ) -> Result<Bytes, Arc<str>> {
        let correlation_id = self.take_correlation_id();
        self.enqueue(encode_request(version, correlation_id, self.client_id, request));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_write(cx) {
                return Poll::Ready(Err(error));
            }
            loop {
                if let Some(frame) = self.take_frame()? {
                    return Poll::Ready(match response_correlation_id(&frame) {
                        Some(id) if id == correlation_id => Ok(frame),
                        id => Err(format!("answer to request {id:?} instead of {correlation_id}").into()),
                    });
                }
                ready!(self.poll_read(cx))?;
            }
        })
        .await
    }

    pub fn set_versions(&mut self, versions: Versions) {
        self.versions = versions;
    }

    /// Serves the connection until it ends; every request that was taken has been answered or failed by then.
    pub async fn serve(mut self) -> End {
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        let now = self.runtime.now();
        for request in std::mem::take(&mut self.in_flight) {
            let sent = self.written_bytes > request.begins;
            let failure = match &end {
                End::TimedOut if request.deadline <= now => RequestFailure::TimedOut { sent },
                End::TimedOut => {
                    RequestFailure::Disconnected { sent, reason: "another request timed out".into() }
                }
                End::Broken(reason) => RequestFailure::Disconnected { sent, reason: reason.clone() },
                End::Closed if sent => {
                    RequestFailure::Disconnected { sent, reason: "the client was closed".into() }
                }
                End::Closed => RequestFailure::Closed,
            };
            request.reply.send(now, self.connection.node, Err(failure));
        }
        end
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // What said that it will wake this task need not be asked again before it does.
        let mut reading = true;
        loop {
            self.take_requests();
            if let Poll::Ready(Err(reason)) = self.poll_write(cx) {
                return Poll::Ready(End::Broken(reason));
            }
            self.complete_unanswered();
            while reading {
                match self.poll_read(cx) {
                    Poll::Ready(Err(reason)) => return Poll::Ready(End::Broken(reason)),
                    Poll::Pending => reading = false,
                    Poll::Ready(Ok(())) => {
                        if let Err(reason) = self.dispatch() {
                            return Poll::Ready(End::Broken(reason));
                        }
                    }
                }
            }
            if self.connection.suspend(cx, self.in_flight.len() < self.limits.in_flight_max) {
                break;
            }
            if self.connection.is_closed() {
                return Poll::Ready(End::Closed);
            }
        }
        if self.poll_timer(cx) { Poll::Ready(End::TimedOut) } else { Poll::Pending }
    }

    fn take_correlation_id(&mut self) -> i32 {
        let id = self.next_correlation_id;
        self.next_correlation_id = id.wrapping_add(1) & i32::MAX;
        id
    }

    fn enqueue(&mut self, parts: Parts) {
        self.queued_bytes += parts.len() as u64;
        self.outgoing.push_back(parts);
    }

    fn take_requests(&mut self) {
        while self.in_flight.len() < self.limits.in_flight_max {
            let Some(queued) = self.connection.next() else { break };
            let Queued { request, version, timeout, answered, reply } = queued;
            let api = request.api();
            let Some(version) = version.or_else(|| self.versions.pick(api)) else {
                let now = self.runtime.now();
                reply.send(now, self.connection.node, Err(RequestFailure::Unsupported(api)));
                continue;
            };
            let correlation_id = self.take_correlation_id();
            let begins = self.queued_bytes;
            self.enqueue(encode_request(version, correlation_id, self.client_id, &request));
            let deadline = self.runtime.now() + timeout;
            let ends = self.queued_bytes;
            self.in_flight.push_back(InFlight {
                correlation_id,
                api,
                version,
                deadline,
                answered,
                begins,
                ends,
                reply,
            });
            if self.timer.as_ref().is_none_or(|(at, _)| deadline < *at) {
                self.timer = Some((deadline, self.runtime.sleep_until(deadline)));
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Arc<str>>> {
        while let Some(parts) = self.outgoing.front_mut() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, parts.chunk())) {
                Ok(0) => return Poll::Ready(Err("the connection takes no more bytes".into())),
                Ok(count) => {
                    parts.advance(count);
                    if parts.is_empty() {
                        self.outgoing.pop_front();
                    }
                    self.written_bytes += count as u64;
                    self.unflushed = true;
                }
                Err(error) => return Poll::Ready(Err(format!("failed to write: {error}").into())),
            }
        }
        if self.unflushed {
            if let Err(error) = ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
                return Poll::Ready(Err(format!("failed to flush: {error}").into()));
            }
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Requests without an answer are over once their last byte was handed to the network.
    fn complete_unanswered(&mut self) {
        if self.unflushed {
            return;
        }
        while let Some(request) = self.in_flight.front()
            && !request.answered
            && request.ends <= self.written_bytes
        {
            let request = self.in_flight.pop_front().expect("looked at");
            request.reply.send(self.runtime.now(), self.connection.node, Ok(None));
        }
    }

    /// Reads what is there, at least one byte.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Arc<str>>> {
        let missing =
            self.frame_length().map_or(0, |length| (length + 4).saturating_sub(self.incoming.len()));
        // Frames are slices of this buffer: a new one only when it is used up, not with every answer.
        if self.incoming.capacity() - self.incoming.len() < missing.max(ROOM_MIN) {
            self.incoming.reserve(missing.max(READ_BYTES));
        }
        let count = match ready!(pin!(self.stream.read_buf(&mut self.incoming)).poll(cx)) {
            Ok(count) => count,
            Err(error) => return Poll::Ready(Err(format!("failed to read: {error}").into())),
        };
        if count == 0 {
            return Poll::Ready(Err("the broker closed the connection".into()));
        }
        Poll::Ready(Ok(()))
    }

    fn frame_length(&self) -> Option<usize> {
        let length = i32::from_be_bytes(*self.incoming.first_chunk()?);
        Some(length.max(0) as usize)
    }

    /// The next whole frame, without its length.
    fn take_frame(&mut self) -> Result<Option<Bytes>, Arc<str>> {
        let Some(length) = self.frame_length() else { return Ok(None) };
        if length < 4 || length > self.limits.response_bytes_max {
            let max = self.limits.response_bytes_max;
            return Err(format!("a response of {length} bytes (expected 4..{max})").into());
        }
        if self.incoming.len() < length + 4 {
            return Ok(None);
        }
        self.incoming.advance(4);
        Ok(Some(self.incoming.split_to(length).freeze()))
    }

    fn dispatch(&mut self) -> Result<(), Arc<str>> {
        while let Some(frame) = self.take_frame()? {
            let id = response_correlation_id(&frame);
            // An answer to a later request proves that those without an answer were taken.
            while self.in_flight.front().is_some_and(|request| !request.answered) {
                let request = self.in_flight.pop_front().expect("looked at");
                request.reply.send(self.runtime.now(), self.connection.node, Ok(None));
            }
            let expected = self.in_flight.front().map(|request| request.correlation_id);
            if id.is_none() || id != expected {
                return Err(format!("correlation id {id:?} in a response (expected {expected:?})").into());
            }
            let request = self.in_flight.front().expect("looked at");
            let response: Response = decode_response(request.api, request.version, frame)
                .map_err(|error| Arc::<str>::from(error.to_string()))?;
            let request = self.in_flight.pop_front().expect("looked at");
            self.limits.answers.fetch_add(1, Ordering::Relaxed);
            request.reply.send(self.runtime.now(), self.connection.node, Ok(Some(response)));
        }
        Ok(())
    }

    /// True when a request has run out of time.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some((_, sleep)) = &mut self.timer {
            if Pin::new(sleep).poll(cx).is_pending() {
                return false;
            }
            let now = self.runtime.now();
            let Some(earliest) = self.in_flight.iter().map(|request| request.deadline).min() else {
                self.timer = None;
                return false;
            };
            if earliest <= now {
                return true;
            }
            self.timer = Some((earliest, self.runtime.sleep_until(earliest)));
        }
        false
    }
}
