//! The handle of a connection: a queue of requests, and what is known about the other side.

use super::{RequestFailure, Versions};
use burnin_runtime::Instant;
use burnin_wire::{Api, Request, Response};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::oneshot;

/// Which of a broker's connections. A broker answers the requests of one connection in order, so a fetch that
/// waits for data would hold up everything behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Everything that is answered soon.
    Main,
    /// Long polls of the consumer with this number.
    Fetch(u32),
}

/// Who takes an answer.
pub(crate) trait ResponseHandler: Send + Sync {
    /// The request with this token ended at `node`. `Ok(None)`: it was sent and has no answer (acks=0). Called
    /// on the connection's task, without locks held.
    fn on_response(
        &self,
        now: Instant,
        node: i32,
        token: u64,
        result: Result<Option<Response>, RequestFailure>,
    );
}

/// Who wants to know about connections and metadata. Called without locks held.
pub(crate) trait NetworkListener: Send + Sync {
    /// A connection came up or went down.
    fn connection_changed(&self, now: Instant, node: i32, lane: Lane, up: bool);
    /// The metadata was replaced.
    fn metadata_changed(&self, now: Instant);
}

/// How a request's end is told.
pub(crate) enum Reply {
    /// By a call.
    Handler(Weak<dyn ResponseHandler>, u64),
    /// To a waiting task.
    Oneshot(oneshot::Sender<Result<Response, RequestFailure>>),
}

impl Reply {
    pub fn send(self, now: Instant, node: i32, result: Result<Option<Response>, RequestFailure>) {
        match self {
            Reply::Handler(handler, token) => {
                if let Some(handler) = handler.upgrade() {
                    handler.on_response(now, node, token, result);
                }
            }
            Reply::Oneshot(sender) => {
                // The caller may have stopped waiting.
                let _ =
                    sender.send(result.map(|response| response.expect("a one-shot request has an answer")));
            }
        }
    }
}

/// A request on its way to the task.
pub(crate) struct Queued {
    pub request: Request,
    /// The version it was built for; `None`: any.
    pub version: Option<i16>,
    pub timeout: Duration,
    /// False for acks=0.
    pub answered: bool,
    pub reply: Reply,
}

/// What the task of a connection finds when it looks.
#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    waker: Option<Waker>,
    /// The task is running and will look at the queue again before it suspends.
    task_is_looking: bool,
    wanted: bool,
    closed: bool,
    versions: Versions,
    address: (String, u16),
}

/// A connection to one broker.
pub(crate) struct Connection {
    pub node: i32,
    pub lane: Lane,
    ready: AtomicBool,
    state: Mutex<State>,
}

impl Connection {
    pub fn new(node: i32, lane: Lane, host: &str, port: u16) -> Arc<Self> {
        let state = State { address: (host.to_owned(), port), ..State::default() };
        Arc::new(Connection { node, lane, ready: AtomicBool::new(false), state: Mutex::new(state) })
    }

    /// Whether a request would be sent at once.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The version of `api` that this connection speaks; `None` while it is down or when there is none.
    pub fn version(&self, api: Api) -> Option<i16> {
        if !self.is_ready() {
            return None;
        }
        self.state.lock().versions.pick(api)
    }

    /// Asks the task to connect, if it is not connected.
    pub fn want(&self) {
        let mut state = self.state.lock();
        state.wanted = true;
        wake(&mut state);
    }

    /// Queues a request. Before the connection is up it waits, and fails when connecting fails. `Err`: the
    /// connection was closed, and nobody will call back.
    pub fn send(&self, queued: Queued) -> Result<(), RequestFailure> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(RequestFailure::Closed);
        }
        state.queue.push_back(queued);
        wake(&mut state);
        Ok(())
    }

    /// Sends a request and waits for its answer.
    pub async fn request(&self, request: Request, timeout: Duration) -> Result<Response, RequestFailure> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply::Oneshot(sender);
        self.send(Queued { request, version: None, timeout, answered: true, reply })?;
        receiver.await.unwrap_or(Err(RequestFailure::Closed))
    }

    /// Lets the task end, and fails everything that waits.
    pub fn close(&self) {
        let queue = {
            let mut state = self.state.lock();
            state.closed = true;
            wake(&mut state);
            std::mem::take(&mut state.queue)
        };
        for queued in queue {
            queued.reply.send(Instant::FAR_FUTURE, self.node, Err(RequestFailure::Closed));
        }
    }

    pub fn set_address(&self, host: &str, port: u16) {
        let mut state = self.state.lock();
        if state.address.0 != host || state.address.1 != port {
            state.address = (host.to_owned(), port);
        }
    }

    // What follows is for the task.

    pub(super) fn address(&self) -> (String, u16) {
        self.state.lock().address.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Completes when somebody wants the connection; `false` when it was closed.
    pub(super) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.state.lock();
        if state.closed {
            return Poll::Ready(false);
        }
        if state.wanted || !state.queue.is_empty() {
            state.wanted = false;
            return Poll::Ready(true);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn up(&self, versions: Versions) {
        self.state.lock().versions = versions;
        self.ready.store(true, Ordering::Release);
    }

    pub(super) fn down(&self) {
        self.ready.store(false, Ordering::Release);
    }

    /// Takes the next request to send; while there are requests the task is taken to be looking.
    pub(super) fn next(&self) -> Option<Queued> {
        let mut state = self.state.lock();
        state.task_is_looking = true;
        state.queue.pop_front()
    }

    /// The task is about to suspend. `false`: something came in the meantime, look again.
    pub(super) fn suspend(&self, cx: &mut Context<'_>, may_send: bool) -> bool {
        let mut state = self.state.lock();
        if state.closed || (may_send && !state.queue.is_empty()) {
            return false;
        }
        state.task_is_looking = false;
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        true
    }

    pub(super) fn take_queue(&self) -> VecDeque<Queued> {
        let mut state = self.state.lock();
        state.task_is_looking = false;
        std::mem::take(&mut state.queue)
    }
}

fn wake(state: &mut State) {
    if !state.task_is_looking
        && let Some(waker) = state.waker.take()
    {
        waker.wake();
    }
}
