//! Tasks: outputs, aborts and panics reach the handle, and what a task owned is dropped with it.

use crate::Env;
use burnin_runtime::{Runtime, Task, TaskError};
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Lets other ready tasks run.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

pub async fn output_reaches_the_handle<R: Runtime>(env: Env<R>) {
    let task = env.runtime.spawn("answer", async { vec![4, 2] });
    assert_eq!(env.soon("the output", task).await, Ok(vec![4, 2]));

    let runtime = env.runtime.clone();
    let late = env.runtime.spawn("late", async move {
        runtime.sleep(Duration::from_millis(3)).await;
        "late"
    });
    assert_eq!(env.soon("the late output", late).await, Ok("late"));
}

pub async fn dropping_the_handle_aborts<R: Runtime>(env: Env<R>) {
    let (started, running) = oneshot::channel();
    let (alive, gone) = oneshot::channel::<()>();
    let task = env.runtime.spawn("forever", async move {
        let _alive = alive;
        started.send(()).expect("the check waits");
        pending::<()>().await;
    });
    env.soon("the task starts", running).await.expect("the task starts");
    drop(task);
    let closed = env.soon("the future is dropped", gone).await;
    assert!(closed.is_err(), "nobody sends");
}

pub async fn abort_drops_the_future_and_is_reported<R: Runtime>(env: Env<R>) {
    for wait_for_start in [true, false] {
        let (started, running) = oneshot::channel();
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = OnDrop(dropped.clone());
        let task = env.runtime.spawn("forever", async move {
            let _guard = guard;
            // Nobody listens when the abort came first.
            let _ = started.send(());
            pending::<()>().await;
        });
        if wait_for_start {
            env.soon("the task starts", running).await.expect("the task starts");
        }
        task.abort();
        task.abort();
        let result = env.soon("the abort is reported", task).await;
        assert_eq!(result, Err(TaskError::Aborted), "wait_for_start={wait_for_start}");
        assert!(dropped.load(Ordering::SeqCst), "the abort was reported before the future was dropped");
    }
}

pub async fn abort_of_a_task_that_has_ended_keeps_its_output<R: Runtime>(env: Env<R>) {
    let task = env.runtime.spawn("short", async { 7 });
    while !task.is_finished() {
        env.runtime.sleep(Duration::from_micros(200)).await;
    }
    task.abort();
    assert_eq!(env.soon("the output", task).await, Ok(7));
}

pub async fn detached_task_runs_on<R: Runtime>(env: Env<R>) {
    let (done, finished) = oneshot::channel();
    let runtime = env.runtime.clone();
    let task = env.runtime.spawn("detached", async move {
        runtime.sleep(Duration::from_millis(5)).await;
        done.send(7).expect("the check waits");
    });
    task.detach();
    assert_eq!(env.soon("the detached task ends", finished).await, Ok(7));
}

pub async fn is_finished_tells_the_end<R: Runtime>(env: Env<R>) {
    let (release, wait) = oneshot::channel::<()>();
    let task = env.runtime.spawn("waits", async move { wait.await.is_ok() });
    env.runtime.sleep(Duration::from_millis(5)).await;
    assert!(!task.is_finished(), "the task still waits");
    release.send(()).expect("the task waits");
    env.soon("the end is told", async {
        while !task.is_finished() {
            env.runtime.sleep(Duration::from_micros(200)).await;
        }
    })
    .await;
    assert_eq!(env.soon("the output", task).await, Ok(true));
}

pub async fn spawned_tasks_make_progress_together<R: Runtime>(env: Env<R>) {
    const TASKS: u64 = 200;
    let total = Arc::new(AtomicU64::new(0));
    let (send, mut receive) = mpsc::unbounded_channel();
    for number in 0..TASKS {
        let (total, send) = (total.clone(), send.clone());
        let task = env.runtime.spawn("adds", async move {
            for _ in 0..10 {
                yield_now().await;
                total.fetch_add(number, Ordering::SeqCst);
            }
            drop(send);
        });
        task.detach();
    }
    drop::<mpsc::UnboundedSender<()>>(send);
    assert_eq!(env.soon("all tasks end", receive.recv()).await, None);
    assert_eq!(total.load(Ordering::SeqCst), 10 * TASKS * (TASKS - 1) / 2);
}

pub async fn busy_task_does_not_starve_others<R: Runtime>(env: Env<R>) {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let busy = env.runtime.spawn("busy", async move {
        while !seen.load(Ordering::SeqCst) {
            yield_now().await;
        }
    });
    let other = env.runtime.spawn("other", async move {
        for _ in 0..20 {
            yield_now().await;
        }
        stop.store(true, Ordering::SeqCst);
    });
    env.soon("the other task ends", other).await.expect("it ends");
    env.soon("the busy task ends", busy).await.expect("it ends");
}

pub async fn tasks_spawn_tasks<R: Runtime>(env: Env<R>) {
    let runtime = env.runtime.clone();
    let outer = env.runtime.spawn("outer", async move {
        let inner: Vec<_> = (0..10).map(|n| runtime.spawn("inner", async move { n })).collect();
        let mut sum = 0;
        for task in inner {
            sum += task.await.expect("the inner task ends");
        }
        sum
    });
    assert_eq!(env.soon("the tasks end", outer).await, Ok(45));
}

pub async fn offload_gives_the_output<R: Runtime>(env: Env<R>) {
    let work = |n: u64| env.runtime.offload(move || (0..n).fold(0u64, |sum, n| sum.wrapping_mul(31) + n));
    let (a, b) = (env.soon("offload", work(100_000)).await, env.soon("offload", work(100_000)).await);
    assert_eq!(a, b, "one computation, two outputs");
    assert_eq!(env.soon("offload", work(3)).await, 33);
}

pub async fn panic_reaches_the_handle<R: Runtime>(env: Env<R>) {
    let task = env.runtime.spawn("panics", async {
        if pending_once().await {
            panic!("planned panic of task number {}", 7);
        }
    });
    let error = env.soon("the panic", task).await.expect_err("the task panicked");
    assert_eq!(error, TaskError::Panicked("planned panic of task number 7".to_owned()));

    let task = env.runtime.spawn("panics", async { panic!("planned panic") });
    let error: Result<(), _> = env.soon("the panic", task).await;
    assert_eq!(error, Err(TaskError::Panicked("planned panic".to_owned())));
}

pub async fn panic_drops_the_future<R: Runtime>(env: Env<R>) {
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = OnDrop(dropped.clone());
    let task = env.runtime.spawn("panics", async move {
        let _guard = guard;
        panic!("planned panic")
    });
    let error: Result<(), _> = env.soon("the panic", task).await;
    assert!(error.is_err(), "the task panicked");
    assert!(dropped.load(Ordering::SeqCst), "what the task owned was not dropped");
}

/// True, after one suspension.
async fn pending_once() -> bool {
    yield_now().await;
    true
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
