//! What a handler gives back, and how a connection holds it until it can be sent.

use crate::fetch::FetchAnswer;
use crate::produce::ProduceWait;
use crate::shared::Shared;
use burnin_runtime::{Instant, Runtime};
use burnin_wire::{Parts, RequestHeader, Response};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A boxed future, for what is not on the hot path.
pub(crate) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The outcome of handling a request.
pub(crate) enum Reply<R: Runtime> {
    /// The answer is there.
    Now(Response),
    /// A fetch that is answered at once.
    Fetched(FetchAnswer),
    /// Records were appended; the answer waits for their durability.
    Produced(ProduceWait<R>),
    /// A fetch that waits for records or reads the disk. It changes nothing and can be given up.
    Fetching(Later<FetchAnswer>),
    /// Work of some time that only reads. Further requests may be handled meanwhile.
    Reading(Later<Response>),
    /// Work of some time that changes something: no further request of the connection is handled before it ends.
    Changing(Later<Response>),
    /// No answer is sent (acks=0).
    Nothing,
    /// The connection cannot go on, for this reason.
    Close(String),
}

/// A response that is not in the output yet.
pub(crate) enum Pending<R: Runtime> {
    /// Ready to be sent.
    Encoded(Parts),
    /// See [`Reply::Produced`].
    Produced(RequestHeader, ProduceWait<R>),
    /// See [`Reply::Fetching`].
    Fetching(RequestHeader, Later<FetchAnswer>),
    /// See [`Reply::Reading`].
    Reading(RequestHeader, Later<Response>),
    /// See [`Reply::Changing`].
    Changing(RequestHeader, Later<Response>),
}

impl<R: Runtime> Pending<R> {
    /// From a reply that has an answer.
    pub(crate) fn new(header: RequestHeader, reply: Reply<R>) -> Pending<R> {
        match reply {
            Reply::Now(response) => Pending::Encoded(burnin_wire::encode_response(&header, &response)),
            Reply::Fetched(answer) => Pending::Encoded(answer.encode(&header)),
            Reply::Produced(wait) => Pending::Produced(header, wait),
            Reply::Fetching(later) => Pending::Fetching(header, later),
            Reply::Reading(later) => Pending::Reading(header, later),
            Reply::Changing(later) => Pending::Changing(header, later),
            Reply::Nothing | Reply::Close(_) => unreachable!("a reply without an answer is not pending"),
        }
    }

    /// The encoded response, when it can be had.
    pub(crate) fn poll(&mut self, shared: &Shared<R>, cx: &mut Context<'_>) -> Poll<Parts> {
        Poll::Ready(match self {
            Pending::Encoded(parts) => std::mem::take(parts),
            Pending::Produced(header, wait) => {
                let response = ready!(wait.poll(shared, cx));
                burnin_wire::encode_response(header, &response)
            }
            Pending::Fetching(header, later) => ready!(later.as_mut().poll(cx)).encode(header),
            Pending::Reading(header, later) | Pending::Changing(header, later) => {
                burnin_wire::encode_response(header, &ready!(later.as_mut().poll(cx)))
            }
        })
    }

    /// When it must be polled again at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        match self {
            Pending::Produced(_, wait) => wait.deadline(),
            _ => Instant::FAR_FUTURE,
        }
    }

    /// Whether later requests of the connection must wait for it.
    pub(crate) fn is_barrier(&self) -> bool {
        matches!(self, Pending::Changing(..))
    }

    /// Whether nobody is waiting for it any more when the broker or the client stops.
    pub(crate) fn is_abandoned_on_stop(&self) -> bool {
        matches!(self, Pending::Fetching(..) | Pending::Reading(..))
    }
}
