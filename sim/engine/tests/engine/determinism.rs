//! One seed gives one trace, another seed another; the trace tells where two runs part; nothing is left of a
//! world when it is dropped.

use crate::common::*;
use burnin_engine::*;
use burnin_runtime::{Disk, File, Listener, Net, OpenOptions, Runtime, Stream, Task};
use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Writes what clients send to a file, syncs it and echoes it.
async fn serve(rt: SimRuntime) {
    let mut listener = rt.net().listen(A).await.unwrap();
    let file = rt.disk().open(Path::new("/log"), OpenOptions::CREATE).await.unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let file = file.clone();
        rt.spawn("connection", async move {
            let (mut read, mut write) = stream.split();
            let mut buf = [0; 8];
            while read.read_exact(&mut buf).await.is_ok() {
                let Ok(at) = file.len().await else { return };
                if file.write_at(at, vec![Bytes::copy_from_slice(&buf)]).await.is_err() {
                    return;
                }
                if file.sync_data().await.is_err() || write.write_all(&buf).await.is_err() {
                    return;
                }
            }
        })
        .detach();
    }
}

async fn ask(rt: SimRuntime) {
    let mut number = 0u64;
    loop {
        let connect = burnin_runtime::timeout(&rt, SECOND, rt.net().connect(A)).await;
        let Some(Ok(mut stream)) = connect else {
            rt.sleep(20 * MS).await;
            continue;
        };
        loop {
            number += 1;
            let mut buf = number.to_le_bytes();
            let echo = async {
                stream.write_all(&number.to_le_bytes()).await?;
                stream.read_exact(&mut buf).await
            };
            match burnin_runtime::timeout(&rt, 500 * MS, echo).await {
                Some(Ok(_)) => assert_eq!(buf, number.to_le_bytes()),
                _ => break,
            }
        }
    }
}

/// A server, three clients and a supervisor that breaks things at times of its own seed.
async fn chaos(h: SimHandle, disturb: Option<u64>) {
    let server = h.add_node(NodeSpec::new("server", [10, 0, 0, 1]).start(serve));
    let clients: Vec<_> =
        (0..3).map(|n| h.add_node(NodeSpec::new(format!("client-{n}"), [10, 0, 1, n]).start(ask))).collect();
    for &node in clients.iter().chain([&server]) {
        h.start(node).unwrap();
    }
    let mut entropy = h.entropy("chaos");
    for round in 0..40 {
        sleep(&h, entropy.duration(MS, 100 * MS)).await;
        if disturb == Some(round) {
            // The smallest difference that there is.
            sleep(&h, Duration::from_nanos(1)).await;
        }
        let client = clients[entropy.below(3) as usize];
        match entropy.below(6) {
            0 => h.power_loss(server).map(|_| ()).unwrap(),
            1 => h.kill(server).unwrap(),
            2 => h.net().partition(server, client).unwrap(),
            3 => h.disk(server).hang(Some(30 * MS)),
            4 => drop(h.net().reset_connections(server, client)),
            _ => h.disk(server).fail(FailRule::next(DiskOp::Sync, 1)).unwrap(),
        }
        sleep(&h, entropy.duration(MS, 50 * MS)).await;
        h.net().heal_all();
        drop(h.start(server));
    }
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let trace = |seed| run(seed, SimConfig::default(), |h| chaos(h, None)).1;
    let mut hashes = Vec::new();
    for seed in 0..20 {
        let first = trace(seed);
        assert_eq!(first, trace(seed), "seed {seed}");
        assert_eq!(first.first_difference(&trace(seed)), None);
        assert!(first.events > 3000, "seed {seed}: only {} events", first.events);
        hashes.push(first.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20);
}

/// A trace, and every event of it.
fn recorded(disturb: Option<u64>) -> (Trace, Vec<TraceEvent>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = events.clone();
    let (_, trace) = run(7, SimConfig::default(), move |h| {
        h.set_trace_sink(Some(Box::new(move |event: &TraceEvent| sink.lock().unwrap().push(*event))));
        chaos(h, disturb)
    });
    let mut events = std::mem::take(&mut *events.lock().unwrap());
    // Dropping the world stops its nodes, which the sink sees as well.
    assert!(events.len() as u64 > trace.events);
    events.truncate(trace.events as usize);
    (trace, events)
}

#[test]
fn the_trace_tells_where_two_runs_part() {
    let (trace, events) = recorded(None);
    let (other_trace, other_events) = recorded(Some(20));
    assert_eq!(events.last().unwrap().hash, trace.hash);
    let parted = events.iter().zip(&other_events).position(|(a, b)| a != b).expect("they part");
    assert!(parted > 500, "they part at once");
    let thousand = trace.first_difference(&other_trace).expect("their traces differ");
    assert_eq!(thousand, parted as u64 / CHECKPOINT_EVENTS, "at event {parted}");
    // Without a sink the trace is the same.
    assert_eq!(run(7, SimConfig::default(), |h| chaos(h, None)).1, trace);
    for kind in [
        TraceKind::Poll,
        TraceKind::Timer,
        TraceKind::Connect,
        TraceKind::Deliver,
        TraceKind::Disk,
        TraceKind::Fault,
    ] {
        assert!(events.iter().any(|event| event.kind == kind), "no event {kind:?}");
    }
}

#[test]
fn the_order_of_ready_tasks_is_the_seeds() {
    let order = |seed| {
        run(seed, config(), |h| async move {
            let order = Arc::new(Mutex::new(Vec::new()));
            for n in 0..8 {
                let order = order.clone();
                h.control().spawn("one", async move { order.lock().unwrap().push(n) }).detach();
            }
            sleep(&h, MS).await;
            order.lock().unwrap().clone()
        })
        .0
    };
    let orders: std::collections::BTreeSet<_> = (0..50).map(order).collect();
    assert!(orders.len() > 40, "{} orders in 50 seeds", orders.len());
}

#[test]
fn the_current_task_knows_where_and_when_it_runs() {
    assert_eq!(current(), None);
    run(1, config(), |h| async move {
        let (_, b) = pair(&h);
        let rt = h.runtime(b);
        let at = rt.clone().spawn("asks", async move {
            rt.sleep(3 * MS).await;
            current().unwrap()
        });
        let at = at.await.unwrap();
        assert_eq!((at.node, at.now.as_nanos()), (b, 3_000_000));
        assert_eq!(current().unwrap().node, SimNode::CONTROL);
    });
    assert_eq!(current(), None);
}

#[test]
fn nothing_is_left_of_a_world() {
    let token = Arc::new(());
    let captured = token.clone();
    let mut sim = Sim::new(1, SimConfig::default());
    let handle = sim.handle();
    let h = handle.clone();
    sim.block_on(async move {
        let kept = captured.clone();
        let inner = h.clone();
        let spec = NodeSpec::new("knot", [10, 0, 3, 1]).start(move |rt| {
            // A start function that holds its own world, and a task that holds a handle of itself.
            let (kept, inner) = (kept.clone(), inner.clone());
            async move {
                let (send, receive) = tokio::sync::oneshot::channel();
                let task = rt.clone().spawn("knot", async move {
                    let _myself = receive.await;
                    let _kept = (kept, inner, rt);
                    std::future::pending::<()>().await;
                });
                drop(send.send(task));
                std::future::pending::<()>().await;
            }
        });
        let knot = h.add_node(spec);
        h.start(knot).unwrap();
        let clone = captured.clone();
        h.set_trace_sink(Some(Box::new(move |_| drop(clone.clone()))));
        chaos(h, None).await;
        drop(captured);
    })
    .unwrap();
    assert!(Arc::strong_count(&token) > 1, "the world holds it while it lives");
    drop(sim);
    assert_eq!(Arc::strong_count(&token), 1, "something of the world is left");
}

#[test]
fn two_worlds_of_one_thread_do_not_touch_each_other() {
    let alone = run(7, SimConfig::default(), |h| chaos(h, None)).1;
    let mut outer = Sim::new(1, SimConfig::default());
    let h = outer.handle();
    let inner = outer.block_on(async move {
        sleep(&h, SECOND).await;
        run(7, SimConfig::default(), |h| chaos(h, None)).1
    });
    assert_eq!(inner.unwrap(), alone);
}

#[test]
fn handles_are_of_no_use_after_their_world_or_on_another_thread() {
    let mut sim = Sim::new(1, SimConfig::default());
    let h = sim.handle();
    let elsewhere = h.clone();
    std::thread::spawn(move || elsewhere.now()).join().expect_err("another thread has another world");
    let (stream, timer) = sim
        .block_on(async move {
            let (a, b) = pair(&h);
            let (_, client) = connected(&h, a, b).await;
            (client, h.control().sleep(SECOND))
        })
        .unwrap();
    let h = sim.handle();
    drop(sim);
    let _next = Sim::new(2, SimConfig::default());
    // Dropping what is left of the old world touches neither it nor the one in its place.
    drop((stream, timer));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| h.now())).expect_err("the world is gone");
}
