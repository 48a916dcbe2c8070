//! Tasks: tokio's `JoinHandle`, which detaches when it is dropped, made into one that aborts.

use burnin_runtime::{Task, TaskError};
use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// A handle of a spawned future. Dropping it aborts the task.
#[derive(Debug)]
pub struct TokioTask<T> {
    handle: JoinHandle<T>,
    detached: bool,
}

impl<T> TokioTask<T> {
    pub(crate) fn new(handle: JoinHandle<T>) -> Self {
        TokioTask { handle, detached: false }
    }
}

impl<T: Send + 'static> Task<T> for TokioTask<T> {
    fn abort(&self) {
        self.handle.abort();
    }

    fn detach(mut self) {
        self.detached = true;
    }

    fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

impl<T> Drop for TokioTask<T> {
    fn drop(&mut self) {
        if !self.detached {
            self.handle.abort();
        }
    }
}

impl<T> Future for TokioTask<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.handle).poll(cx)).map_err(
            |error| match error.try_into_panic() {
                Ok(panic) => TaskError::Panicked(message(&*panic)),
                Err(_) => TaskError::Aborted,
            },
        ))
    }
}

/// What was given to `panic!`.
fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is no text".to_owned()
    }
}
