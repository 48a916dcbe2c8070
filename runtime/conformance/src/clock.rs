//! Clock: monotonic, never early, and a timeout that a ready result wins against.

use crate::Env;
use burnin_runtime::{Instant, Runtime, Task, timeout};
use std::future::{pending, ready};
use std::time::Duration;
use tokio::sync::oneshot;

pub async fn now_never_goes_back<R: Runtime>(env: Env<R>) {
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let runtime = env.runtime.clone();
            env.runtime.spawn("clock", async move {
                let mut last = runtime.now();
                for round in 0..2_000 {
                    if round % 200 == 0 {
                        runtime.sleep(Duration::from_micros(10)).await;
                    }
                    let now = runtime.now();
                    assert!(now >= last, "the clock went back: from {last} to {now}");
                    last = now;
                }
                last
            })
        })
        .collect();
    let began = env.runtime.now();
    for task in tasks {
        let last = env.soon("clock task", task).await.expect("the clock is monotonic");
        let now = env.runtime.now();
        assert!(now >= last, "a task saw {last}, and later it is {now}");
    }
    assert!(env.runtime.now() >= began);
}

pub async fn sleep_never_ends_early<R: Runtime>(env: Env<R>) {
    for nanos in [0, 1, 999, 1_000, 999_999, 1_000_000, 1_000_001, 3_700_000, 25_000_000] {
        let duration = Duration::from_nanos(nanos);
        let before = env.runtime.now();
        env.soon("sleep", env.runtime.sleep(duration)).await;
        let slept = env.runtime.now().since(before);
        assert!(slept >= duration, "asked to sleep for {duration:?}, slept for {slept:?}");

        let at = env.runtime.now() + duration;
        env.soon("sleep_until", env.runtime.sleep_until(at)).await;
        let now = env.runtime.now();
        assert!(now >= at, "asked to sleep until {at}, woken at {now}");
    }
}

pub async fn sleep_until_the_past_ends<R: Runtime>(env: Env<R>) {
    env.runtime.sleep(Duration::from_millis(2)).await;
    env.soon("sleep until the beginning", env.runtime.sleep_until(Instant::ZERO)).await;
    env.soon("sleep until now", env.runtime.sleep_until(env.runtime.now())).await;
}

pub async fn sleep_until_the_far_future_does_not_end<R: Runtime>(env: Env<R>) {
    let sleep = env.runtime.sleep_until(Instant::FAR_FUTURE);
    let ended = timeout(&env.runtime, Duration::from_millis(30), sleep).await;
    assert_eq!(ended, None, "the far future was reached");
    let ended = timeout(&env.runtime, Duration::from_millis(30), env.runtime.sleep(Duration::MAX)).await;
    assert_eq!(ended, None, "the longest sleep ended");
}

pub async fn wall_clock_moves<R: Runtime>(env: Env<R>) {
    let before = env.runtime.wall_ms();
    env.runtime.sleep(Duration::from_millis(50)).await;
    let after = env.runtime.wall_ms();
    assert!(before > 0, "before 1970: wall_ms={before}");
    assert!(after > before, "the wall clock stood still: before={before} after={after}");
}

pub async fn timeout_gives_the_output<R: Runtime>(env: Env<R>) {
    let runtime = env.runtime.clone();
    let work = async move {
        runtime.sleep(Duration::from_millis(5)).await;
        7
    };
    assert_eq!(timeout(&env.runtime, Duration::from_secs(60), work).await, Some(7));
}

pub async fn timeout_gives_none_when_it_passes<R: Runtime>(env: Env<R>) {
    let before = env.runtime.now();
    let duration = Duration::from_millis(15);
    assert_eq!(timeout(&env.runtime, duration, pending::<()>()).await, None);
    let waited = env.runtime.now().since(before);
    assert!(waited >= duration, "a timeout of {duration:?} passed after {waited:?}");
}

pub async fn timeout_prefers_a_ready_output<R: Runtime>(env: Env<R>) {
    assert_eq!(timeout(&env.runtime, Duration::ZERO, ready(7)).await, Some(7));
}

pub async fn timeout_drops_what_it_gave_up<R: Runtime>(env: Env<R>) {
    let (alive, gone) = oneshot::channel::<()>();
    let work = async move {
        let _alive = alive;
        pending::<()>().await;
    };
    let runtime = env.runtime.clone();
    let task = env.runtime.spawn("timeout", async move {
        let ended = timeout(&runtime, Duration::from_millis(1), work).await;
        assert_eq!(ended, None, "nothing ends a pending future");
        pending::<()>().await;
    });
    let closed = env.soon("the given-up future is dropped", gone).await;
    assert!(closed.is_err(), "nobody sends");
    task.abort();
}
