//! An outgoing connection to another node: opened when it is needed, opened again after an error with backoff.
//!
//! Requests are sent one behind the other without waiting, and answered in order: whoever sends a long poll keeps a
//! `Peer` of its own for it. A call whose time is over takes the connection with it, since nobody knows whether the
//! other side is still there.

use crate::frames::FrameReader;
use burnin_core::Release;
use burnin_runtime::{Net, Runtime, Task, timeout};
use burnin_wire::kafka::messages::ApiVersionsRequest;
use burnin_wire::kafka::messages::api_versions_response::ApiVersionsResponse;
use burnin_wire::{
    Api, ErrorCode, Parts, Request, Response, StrBytes, decode_response, encode_request,
    response_correlation_id,
};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

/// How long connecting, and then the exchange of versions, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// `reconnect.backoff.ms` and `reconnect.backoff.max.ms` of Kafka's clients.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(1000));
/// The largest response: what a fetch may bring, and then some.
const RESPONSE_MAX: usize = 512 * 1024 * 1024;

/// Why a call has no answer. Unless it was not sent, it may have been carried out all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    /// No connection could be made: nothing was sent.
    #[error("no connection to {0}")]
    NotConnected(Arc<str>),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Disconnected(Arc<str>),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The two sides have no version of this API in common that can carry the request.
    #[error("the other side does not speak {0} in a version that can carry this")]
    Unsupported(Api),
}

enum Command {
    Call(Box<Call>),
    /// A call's time is over.
    TimedOut(u64),
}

struct Call {
    id: u64,
    request: Request,
    versions: RangeInclusive<i16>,
    answer: oneshot::Sender<Result<Response, PeerError>>,
}

/// See the module. Cheap to clone; the connection ends with the last clone.
#[derive(Clone)]
pub(crate) struct Peer<R: Runtime> {
    runtime: R,
    commands: mpsc::UnboundedSender<Command>,
    next_id: Arc<AtomicU64>,
    spoken: Spoken,
}

/// By key: what the other side speaks, as long as there is a connection.
type Versions = BTreeMap<i16, (i16, i16)>;
type Spoken = Arc<Mutex<Option<Arc<Versions>>>>;

impl<R: Runtime> Peer<R> {
    /// Does not connect yet. `release` is that of this node: nothing newer is spoken.
    pub(crate) fn new(
        runtime: R,
        release: Release,
        address: (String, u16),
        client_id: impl Into<Arc<str>>,
    ) -> Peer<R> {
        let (commands, queue) = mpsc::unbounded_channel();
        let spoken = Spoken::default();
        let link = Link {
            runtime: runtime.clone(),
            release,
            address,
            client_id: client_id.into(),
            spoken: spoken.clone(),
        };
        runtime.spawn("peer", run(link, queue)).detach();
        Peer { runtime, commands, next_id: Arc::default(), spoken }
    }

    /// The versions of an API that the other side speaks, as long as there is a connection.
    pub(crate) fn spoken(&self, api: Api) -> Option<(i16, i16)> {
        self.spoken.lock().as_ref()?.get(&api.key()).copied()
    }

    /// Sends a request in the highest of these versions that both sides know, and waits for its answer. Dropping the
    /// future abandons the answer, not the connection. A request with fields that old versions cannot carry must name
    /// the first one that can: to encode it in an older one is a bug.
    /// The request is on its way when this returns.
    pub(crate) fn call_in(
        &self,
        versions: RangeInclusive<i16>,
        request: Request,
        within: Duration,
    ) -> impl Future<Output = Result<Response, PeerError>> + Send + use<R> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        // Without a task nobody answers.
        let _ = self.commands.send(Command::Call(Box::new(Call { id, request, versions, answer })));
        let (runtime, commands) = (self.runtime.clone(), self.commands.clone());
        async move {
            match timeout(&runtime, within, answered).await {
                Some(answer) => {
                    answer.unwrap_or_else(|_| Err(PeerError::Disconnected("this node stops".into())))
                }
                None => {
                    // Without a task there is no connection to give up.
                    let _ = commands.send(Command::TimedOut(id));
                    Err(PeerError::TimedOut)
                }
            }
        }
    }
}

struct Link<R: Runtime> {
    runtime: R,
    release: Release,
    address: (String, u16),
    client_id: Arc<str>,
    spoken: Spoken,
}

/// The task behind a [`Peer`].
async fn run<R: Runtime>(link: Link<R>, mut queue: mpsc::UnboundedReceiver<Command>) {
    let runtime = &link.runtime;
    let mut entropy = runtime.entropy("peer");
    let mut failures = 0_u32;
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match queue.recv().await {
                None => return,
                Some(Command::TimedOut(_)) => continue,
                Some(Command::Call(call)) if call.answer.is_closed() => continue,
                Some(Command::Call(call)) => waiting.push_back(call),
            }
        }
        if failures > 0 {
            let most = BACKOFF.1.min(BACKOFF.0 * 2_u32.saturating_pow(failures.min(16)));
            runtime.sleep(entropy.duration(most / 2, most)).await;
        }
        match link.open().await {
            Ok(mut wire) => {
                wire.queue.append(&mut waiting);
                *link.spoken.lock() = Some(wire.versions.clone());
                let end = std::future::poll_fn(|cx| wire.poll(&mut queue, cx)).await;
                *link.spoken.lock() = None;
                // Whoever breaks connections as fast as they are made is not asked at full speed.
                failures = if wire.answered > 0 { 1 } else { failures + 1 };
                let Some(reason) = end else { return };
                tracing::debug!(host = link.address.0, port = link.address.1, %reason, "connection broke");
                for sent in wire.in_flight {
                    let _ = sent.answer.send(Err(PeerError::Disconnected(reason.clone())));
                }
                waiting = wire.queue;
            }
            Err(reason) => {
                failures = failures.saturating_add(1);
                while let Ok(command) = queue.try_recv() {
                    if let Command::Call(call) = command {
                        waiting.push_back(call);
                    }
                }
                for call in waiting.drain(..) {
                    let _ = call.answer.send(Err(PeerError::NotConnected(reason.clone())));
                }
            }
        }
    }
}

impl<R: Runtime> Link<R> {
    async fn open(&self) -> Result<Wire<R>, Arc<str>> {
        let (host, port) = (self.address.0.as_str(), self.address.1);
        let failed = |why: &dyn std::fmt::Display| Arc::<str>::from(format!("{host}:{port}: {why}"));
        let net = self.runtime.net();
        let connecting = async {
            let addresses = net.resolve(host, port).await?;
            let address = addresses.first().copied().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
            net.connect(address).await
        };
        let stream = match timeout(&self.runtime, CONNECT_TIMEOUT, connecting).await {
            Some(stream) => stream.map_err(|error| failed(&error))?,
            None => return Err(failed(&"it does not accept")),
        };
        let mut wire = Wire {
            release: self.release,
            client_id: self.client_id.clone(),
            stream,
            versions: Arc::default(),
            frames: FrameReader::new(RESPONSE_MAX),
            out: Parts::new(),
            unflushed: false,
            next_correlation_id: 0,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            answered: 0,
        };
        match timeout(&self.runtime, CONNECT_TIMEOUT, wire.agree()).await {
            Some(Ok(())) => Ok(wire),
            Some(Err(reason)) => Err(failed(&reason)),
            None => Err(failed(&"it does not answer ApiVersions")),
        }
    }
}

struct Sent {
    id: u64,
    correlation_id: i32,
    api: Api,
    version: i16,
    answer: oneshot::Sender<Result<Response, PeerError>>,
}

/// An established connection.
struct Wire<R: Runtime> {
    release: Release,
    client_id: Arc<str>,
    stream: <R::Net as Net>::Stream,
    versions: Arc<Versions>,
    frames: FrameReader,
    out: Parts,
    unflushed: bool,
    next_correlation_id: i32,
    queue: VecDeque<Box<Call>>,
    in_flight: VecDeque<Sent>,
    answered: u64,
}

impl<R: Runtime> Wire<R> {
    /// ApiVersions in our highest version, and in the other side's highest when it refuses (KIP-511).
    async fn agree(&mut self) -> Result<(), Arc<str>> {
        let mut version = *self.release.versions(Api::ApiVersions).end();
        loop {
            let mut request = ApiVersionsRequest::default();
            if version >= 3 {
                request.client_software_name = StrBytes::from_static_str("burnin-broker");
                request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
            }
            let frame = self.exchange(version, &request.into()).await?;
            // The error code comes first in every version; a refusal has the body of version 0.
            let refusal = ErrorCode::UNSUPPORTED_VERSION.code().to_be_bytes();
            let is_refused = frame.get(4..6) == Some(&refusal[..]);
            let read = decode_response(Api::ApiVersions, if is_refused { 0 } else { version }, frame);
            let response: ApiVersionsResponse = match read {
                Ok(Response::ApiVersions(response)) => response,
                Ok(_) => unreachable!("decoded as ApiVersions"),
                Err(error) => return Err(error.to_string().into()),
            };
            let ranges = response.api_keys.iter();
            let versions = ranges.map(|key| (key.api_key, (key.min_version, key.max_version)));
            self.versions = Arc::new(versions.collect());
            if !is_refused && response.error_code == 0 {
                return Ok(());
            }
            let offered = self.versions.get(&Api::ApiVersions.key()).map_or(0, |(_, max)| (*max).max(0));
            if !is_refused || offered >= version {
                return Err(format!("ApiVersions failed with error code {}", response.error_code).into());
            }
            version = offered;
        }
    }

    async fn exchange(&mut self, version: i16, request: &Request) -> Result<Bytes, Arc<str>> {
        let correlation_id = self.send(version, request);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Err(reason)) = self.poll_write(cx) {
                return Poll::Ready(Err(reason));
            }
            loop {
                if let Some(frame) = self.frames.next_frame().map_err(|error| error.to_string())? {
                    return Poll::Ready(match response_correlation_id(&frame) {
                        Some(id) if id == correlation_id => Ok(frame),
                        id => Err(format!("answered request {id:?} instead of {correlation_id}").into()),
                    });
                }
                ready!(self.poll_read(cx))?;
            }
        })
        .await
    }

    fn send(&mut self, version: i16, request: &Request) -> i32 {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1) & i32::MAX;
        let parts = encode_request(version, correlation_id, &self.client_id, request);
        parts.into_vec().into_iter().for_each(|part| self.out.push(part));
        correlation_id
    }

    /// Serves until the connection breaks, for this reason; `None`: nobody can call any more.
    fn poll(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Arc<str>>> {
        loop {
            while let Some(call) = self.queue.pop_front() {
                self.begin(*call);
            }
            if let Poll::Ready(Err(reason)) = self.poll_write(cx) {
                return Poll::Ready(Some(reason));
            }
            match self.poll_answers(cx) {
                Poll::Ready(reason) => return Poll::Ready(Some(reason)),
                Poll::Pending => {}
            }
            match ready!(commands.poll_recv(cx)) {
                None => return Poll::Ready(None),
                Some(Command::Call(call)) => self.queue.push_back(call),
                Some(Command::TimedOut(id)) => {
                    if self.in_flight.iter().any(|sent| sent.id == id) {
                        return Poll::Ready(Some("a request was not answered in time".into()));
                    }
                }
            }
        }
    }

    fn begin(&mut self, call: Call) {
        let Call { id, request, versions, answer } = call;
        if answer.is_closed() {
            return;
        }
        let api = request.api();
        let ours = self.release.versions(api);
        let version = self.versions.get(&api.key()).and_then(|(min, max)| {
            let highest = (*ours.end()).min(*max).min(*versions.end());
            (highest >= *ours.start() && highest >= *min && highest >= *versions.start()).then_some(highest)
        });
        let Some(version) = version else {
            let _ = answer.send(Err(PeerError::Unsupported(api)));
            return;
        };
        let correlation_id = self.send(version, &request);
        self.in_flight.push_back(Sent { id, correlation_id, api, version, answer });
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Arc<str>>> {
        let failed = |error: std::io::Error| Err(format!("failed to write: {error}").into());
        while self.out.has_remaining() {
            match ready!(pin!(self.stream.write_buf(&mut self.out)).poll(cx)) {
                Ok(0) => return Poll::Ready(Err("it takes no more bytes".into())),
                Ok(_) => self.unflushed = true,
                Err(error) => return Poll::Ready(failed(error)),
            }
        }
        if self.unflushed {
            if let Err(error) = ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
                return Poll::Ready(failed(error));
            }
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Arc<str>>> {
        Poll::Ready(match ready!(self.frames.poll_read(&mut self.stream, cx)) {
            Ok(0) => Err("the other side closed it".into()),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("failed to read: {error}").into()),
        })
    }

    /// Hands answers out; ready when the connection is over.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<Arc<str>> {
        loop {
            match self.frames.next_frame() {
                Err(error) => return Poll::Ready(error.to_string().into()),
                Ok(None) => {
                    if let Err(reason) = ready!(self.poll_read(cx)) {
                        return Poll::Ready(reason);
                    }
                }
                Ok(Some(frame)) => {
                    if let Err(reason) = self.hand_out(frame) {
                        return Poll::Ready(reason);
                    }
                }
            }
        }
    }

    fn hand_out(&mut self, frame: Bytes) -> Result<(), Arc<str>> {
        let id = response_correlation_id(&frame);
        let sent = self.in_flight.pop_front().filter(|sent| Some(sent.correlation_id) == id);
        let Some(sent) = sent else { return Err(format!("an answer to nothing ({id:?})").into()) };
        match decode_response(sent.api, sent.version, frame) {
            Ok(response) => {
                self.answered += 1;
                // Whoever asked may have gone meanwhile.
                let _ = sent.answer.send(Ok(response));
                Ok(())
            }
            Err(error) => {
                let reason: Arc<str> = error.to_string().into();
                let _ = sent.answer.send(Err(PeerError::Disconnected(reason.clone())));
                Err(reason)
            }
        }
    }
}
