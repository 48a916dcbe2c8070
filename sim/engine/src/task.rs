//! Spawned tasks and their handles.

use crate::executor::{BoxFuture, Role, TaskId};
use crate::node::SimNode;
use crate::panics;
use crate::world::World;
use burnin_runtime::TaskError;
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What a task leaves to its handle.
struct Join<T> {
    result: Option<Result<T, TaskError>>,
    ended: bool,
    waker: Option<Waker>,
}

/// A handle of a spawned task. See [`burnin_runtime::Task`].
pub struct SimTask<T> {
    join: Arc<Mutex<Join<T>>>,
    world: World,
    id: TaskId,
    detached: bool,
}

/// Ends the join when the future is dropped before its output.
struct JoinGuard<T>(Arc<Mutex<Join<T>>>);

impl<T> JoinGuard<T> {
    fn end(&self, result: Result<T, TaskError>) {
        let mut join = self.0.lock();
        if join.ended {
            return;
        }
        join.ended = true;
        join.result = Some(result);
        let waker = join.waker.take();
        drop(join);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for JoinGuard<T> {
    fn drop(&mut self) {
        self.end(Err(TaskError::Aborted));
    }
}

/// Starts a task of the process `boot` of a node. When that process is gone, the future is dropped at once.
pub(crate) fn spawn<F>(
    world: World,
    (node, boot): (SimNode, u32),
    name: &'static str,
    role: Role,
    future: F,
) -> SimTask<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let join = Arc::new(Mutex::new(Join { result: None, ended: false, waker: None }));
    let guard = JoinGuard(join.clone());
    let body = async move {
        let guard = guard;
        let mut future = pin!(future);
        let output = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panics::message(&*panic))),
        });
        match output.await {
            Ok(output) => {
                guard.end(Ok(output));
                None
            }
            Err(message) => {
                guard.end(Err(TaskError::Panicked(message.clone())));
                Some(message)
            }
        }
    };
    let mut body: Option<BoxFuture> = Some(Box::pin(body));
    let id = world.with(|s| {
        if s.is_alive(node, boot) { s.tasks.insert(node, name, role, body.take()) } else { TaskId::NONE }
    });
    drop(body);
    SimTask { join, world, id, detached: false }
}

impl<T: Send + 'static> Future for SimTask<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut join = self.join.lock();
        if let Some(result) = join.result.take() {
            return Poll::Ready(result);
        }
        assert!(!join.ended, "a task handle was polled after it gave its result");
        if join.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            let old = join.waker.replace(cx.waker().clone());
            drop(join);
            drop(old);
        }
        Poll::Pending
    }
}

impl<T: Send + 'static> burnin_runtime::Task<T> for SimTask<T> {
    fn abort(&self) {
        self.stop();
    }

    fn detach(mut self) {
        self.detached = true;
    }

    fn is_finished(&self) -> bool {
        self.join.lock().ended
    }
}

impl<T> SimTask<T> {
    fn stop(&self) {
        if !self.join.lock().ended {
            self.world.with_if_there(|s| s.tasks.abort(self.id));
        }
    }
}

impl<T> Drop for SimTask<T> {
    fn drop(&mut self) {
        if !self.detached {
            self.stop();
        }
    }
}
