//! Processes: killed, exited, paused, started again; and how a run fails.

use crate::common::*;
use burnin_engine::*;
use burnin_runtime::{Disk, OpenOptions, Runtime, Task, TaskError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts up on every tick of 10 ms; returns the counter and the node.
fn ticking(h: &SimHandle, name: &str, last: u8) -> (Arc<AtomicU64>, SimNode) {
    let count = Arc::new(AtomicU64::new(0));
    let ticks = count.clone();
    let node = h.add_node(NodeSpec::new(name, [10, 0, 0, last]).start(move |rt| {
        let ticks = ticks.clone();
        async move {
            let inner = rt.clone();
            let _task = rt.spawn("ticker", async move {
                loop {
                    ticks.fetch_add(1, Ordering::Relaxed);
                    inner.sleep(10 * MS).await;
                }
            });
            std::future::pending::<()>().await;
        }
    }));
    (count, node)
}

/// Adds one when it is dropped.
struct Bell(Arc<AtomicU64>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_kill_drops_the_tasks_of_one_node_at_once_and_a_start_begins_anew() {
    run(1, config(), |h| async move {
        let (count, node) = ticking(&h, "n", 1);
        let (other_count, other) = ticking(&h, "other", 2);
        assert!(h.kill(node).is_err(), "it is not up yet");
        h.start(node).unwrap();
        h.start(other).unwrap();
        assert!(h.start(node).is_err(), "it is up");
        sleep(&h, 95 * MS).await;
        let bell = Arc::new(AtomicU64::new(0));
        let ring = Bell(bell.clone());
        let task = h.runtime(node).spawn("extra", async move {
            let _ring = ring;
            std::future::pending::<()>().await;
        });
        sleep(&h, MS).await;
        h.kill(node).unwrap();
        assert_eq!(bell.load(Ordering::Relaxed), 1, "dropped before kill returns");
        assert_eq!(task.await, Err(TaskError::Aborted));
        let at_kill = count.load(Ordering::Relaxed);
        assert_eq!(at_kill, 10);
        sleep(&h, SECOND).await;
        assert_eq!(count.load(Ordering::Relaxed), at_kill, "nothing of it runs");
        assert_eq!(other_count.load(Ordering::Relaxed), 110, "the other node never noticed");
        h.start(node).unwrap();
        sleep(&h, 95 * MS).await;
        assert_eq!(count.load(Ordering::Relaxed), at_kill + 10);
    });
}

#[test]
fn a_runtime_of_a_dead_process_does_nothing() {
    run(1, config(), |h| async move {
        let node = h.add_node(NodeSpec::new("n", [10, 0, 0, 1]));
        let rt = h.runtime(node);
        h.kill(node).unwrap();
        h.start(node).unwrap();
        let bell = Arc::new(AtomicU64::new(0));
        let ring = Bell(bell.clone());
        let task = rt.spawn("late", async move { drop(ring) });
        assert_eq!(bell.load(Ordering::Relaxed), 1, "dropped at once");
        assert_eq!(task.await, Err(TaskError::Aborted));
        assert!(rt.disk().open(Path::new("/a"), OpenOptions::CREATE).await.is_err());
        assert!(burnin_runtime::Net::listen(rt.net(), A).await.is_err());
        assert!(burnin_runtime::Net::connect(rt.net(), A).await.is_err());
        assert!(h.disk(node).files().is_empty());
    });
}

#[test]
fn destructors_of_a_killed_node_cannot_bring_it_back() {
    struct Spawns(SimRuntime, Arc<AtomicU64>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let ring = Bell(self.1.clone());
            self.0.spawn("zombie", async move { std::mem::forget(ring) }).detach();
        }
    }
    run(1, config(), |h| async move {
        let node = h.add_node(NodeSpec::new("n", [10, 0, 0, 1]));
        let rt = h.runtime(node);
        let bell = Arc::new(AtomicU64::new(0));
        let guard = Spawns(rt.clone(), bell.clone());
        rt.spawn("holder", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        })
        .detach();
        sleep(&h, MS).await;
        h.kill(node).unwrap();
        sleep(&h, MS).await;
        assert_eq!(bell.load(Ordering::Relaxed), 1, "the zombie was dropped and never ran");
    });
}

#[test]
fn a_node_may_kill_itself_and_the_task_that_did_ends_at_its_next_await() {
    run(1, config(), |h| async move {
        let node = h.add_node(NodeSpec::new("n", [10, 0, 0, 1]));
        let inner = h.clone();
        let rt = h.runtime(node);
        let bell = Arc::new(AtomicU64::new(0));
        let ring = Bell(bell.clone());
        let task = rt.clone().spawn("suicide", async move {
            let _ring = ring;
            inner.kill(node).unwrap();
            rt.sleep(MS).await;
            unreachable!("it goes on after its death");
        });
        assert_eq!(task.await, Err(TaskError::Aborted));
        assert_eq!(bell.load(Ordering::Relaxed), 1);
        assert!(!h.is_up(node));
    });
}

#[test]
fn the_end_of_the_start_function_is_the_end_of_the_process() {
    run(1, config(), |h| async move {
        let bell = Arc::new(AtomicU64::new(0));
        let rings = bell.clone();
        let node = h.add_node(NodeSpec::new("n", [10, 0, 0, 1]).start(move |rt| {
            let ring = Bell(rings.clone());
            async move {
                rt.spawn("background", async move {
                    let _ring = ring;
                    std::future::pending::<()>().await;
                })
                .detach();
                rt.sleep(5 * MS).await;
            }
        }));
        h.start(node).unwrap();
        assert!(h.is_up(node));
        sleep(&h, 6 * MS).await;
        assert!(!h.is_up(node));
        assert_eq!(bell.load(Ordering::Relaxed), 1);
        h.start(node).unwrap();
        assert!(h.is_up(node));
    });
}

#[test]
fn a_paused_process_does_nothing_and_then_goes_on() {
    run(1, config(), |h| async move {
        let (count, node) = ticking(&h, "n", 1);
        assert!(h.pause(node).is_err(), "it is not up");
        h.start(node).unwrap();
        sleep(&h, 15 * MS).await;
        h.pause(node).unwrap();
        assert!(h.pause(node).is_err());
        assert!(h.is_up(node) && h.is_paused(node));
        sleep(&h, SECOND).await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
        h.resume(node).unwrap();
        assert!(h.resume(node).is_err());
        sleep(&h, 25 * MS).await;
        assert_eq!(count.load(Ordering::Relaxed), 5, "one late tick, then every 10 ms");
        h.pause(node).unwrap();
        h.kill(node).unwrap();
        h.start(node).unwrap();
        sleep(&h, 15 * MS).await;
        assert_eq!(count.load(Ordering::Relaxed), 7, "a start is not paused");
    });
}

#[test]
fn wall_clocks_start_apart_jump_and_drift_while_time_goes_on() {
    run(1, config(), |h| async move {
        let ahead = NodeSpec { wall_offset_ms: 5000, ..NodeSpec::new("ahead", [10, 0, 0, 1]) };
        let (a, b) = (h.add_node(ahead), h.add_node(NodeSpec::new("b", [10, 0, 0, 2])));
        let (rt_a, rt_b) = (h.runtime(a), h.runtime(b));
        assert_eq!(rt_a.wall_ms() - rt_b.wall_ms(), 5000);
        h.jump_wall(a, -7000);
        assert_eq!(rt_a.wall_ms() - rt_b.wall_ms(), -2000);
        h.drift(b, 1000);
        let (wall, now) = (rt_b.wall_ms(), rt_b.now());
        sleep(&h, 10 * SECOND).await;
        assert_eq!(rt_b.wall_ms() - wall, 10_010);
        assert_eq!(rt_b.now().since(now), 10 * SECOND);
    });
}

#[test]
fn streams_of_entropy_continue_across_restarts_and_do_not_touch_each_other() {
    let draw = |extra: bool| {
        run(5, config(), move |h| async move {
            let node = h.add_node(NodeSpec::new("n", [10, 0, 0, 1]));
            if extra {
                h.runtime(node).entropy("other").u64();
                h.entropy("supervisor").u64();
            }
            let first = h.runtime(node).entropy("label").u64();
            h.kill(node).unwrap();
            h.start(node).unwrap();
            (first, h.runtime(node).entropy("label").u64())
        })
        .0
    };
    assert_eq!(draw(false), draw(true));
    assert_ne!(draw(false).0, draw(false).1);
}

fn failure<F: Future<Output = ()> + 'static>(
    config: SimConfig,
    main: impl FnOnce(SimHandle) -> F,
) -> SimError {
    let mut sim = Sim::new(1, config);
    let main = main(sim.handle());
    sim.block_on(main).expect_err("the run fails")
}

#[test]
fn a_panic_fails_the_run_and_says_where() {
    let error = failure(config(), |h| async move {
        let node = h.add_node(NodeSpec::new("broken", [10, 0, 0, 1]).start(|rt| async move {
            rt.sleep(7 * MS).await;
            panic!("number {}", 7);
        }));
        h.start(node).unwrap();
        std::future::pending().await
    });
    let SimError::Crash { node, task, message, at, .. } = &error else { panic!("{error}") };
    assert_eq!((&**node, &**task), ("broken", "process"));
    let place = message.strip_prefix("number 7 (").expect("the message comes first");
    assert!(place.contains("nodes.rs:") && place.ends_with(')'), "{place}");
    assert_eq!(at.as_nanos(), 7_000_000);
    let text = error.to_string();
    assert!(text.starts_with("task `process` of broken panicked at 0.007000s (event 5): number 7"), "{text}");
}

#[test]
fn a_panic_of_a_destructor_fails_the_run() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    let error = failure(config(), |h| async move {
        let node = h.add_node(NodeSpec::new("n", [10, 0, 0, 1]));
        h.runtime(node)
            .spawn("bomb", async move {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            })
            .detach();
        sleep(&h, MS).await;
        h.kill(node).unwrap();
        sleep(&h, MS).await;
    });
    assert!(matches!(&error, SimError::Crash { message, .. } if message.starts_with("boom (")), "{error}");
}

#[test]
fn deadlocks_spins_and_limits_end_the_run() {
    let deadlock = failure(config(), |h| async move {
        h.control().spawn("stuck", std::future::pending::<()>()).detach();
        std::future::pending().await
    });
    let SimError::Deadlock { waiting, .. } = &deadlock else { panic!("{deadlock}") };
    assert_eq!(waiting, &["control/main", "control/stuck"]);

    let limits = SimConfig { polls_per_instant_max: 1000, ..config() };
    let spin = failure(limits, |_| {
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        })
    });
    assert!(matches!(spin, SimError::Livelock { event: 1001, .. }), "{spin}");

    let forever = |h: SimHandle| async move {
        loop {
            sleep(&h, SECOND).await;
        }
    };
    let time = failure(SimConfig { time_max: Duration::from_secs(60), ..config() }, forever);
    assert!(matches!(time, SimError::TimeLimit { at, .. } if at.as_nanos() == 60_000_000_000), "{time}");
    let events = failure(SimConfig { events_max: 100, ..config() }, forever);
    assert!(matches!(events, SimError::EventLimit { event: 100..=102, .. }), "{events}");
}

#[test]
fn the_control_node_cannot_be_stopped_or_paused() {
    run(1, config(), |h| async move {
        assert!(h.kill(SimNode::CONTROL).is_err());
        assert!(h.power_loss(SimNode::CONTROL).is_err());
        assert!(h.pause(SimNode::CONTROL).is_err());
        assert_eq!(h.node("control"), Some(SimNode::CONTROL));
        assert_eq!(h.node("nobody"), None);
        assert!(h.nodes().is_empty());
    });
}
