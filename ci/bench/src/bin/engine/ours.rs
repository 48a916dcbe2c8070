//! The measures on `burnin-engine`.

use crate::frames::{PORT, follow, lead};
use burnin_engine::{LinkModel, NodeSpec, Sim, SimConfig, SimHandle, SimRuntime};
use burnin_runtime::{Listener, Net, Runtime, Task};
use std::net::SocketAddr;
use std::time::Duration;

const FOLLOWERS: [[u8; 4]; 2] = [[10, 0, 0, 2], [10, 0, 0, 3]];

fn sim() -> Sim {
    let link = LinkModel::fixed(Duration::from_millis(1));
    Sim::new(7, SimConfig { link, ..SimConfig::default() })
}

fn add_followers(handle: &SimHandle) {
    for (name, ip) in ["follower-1", "follower-2"].into_iter().zip(FOLLOWERS) {
        let node = handle.add_node(NodeSpec::new(name, ip).start(serve));
        handle.start(node).expect("it is not up yet");
    }
}

async fn serve(runtime: SimRuntime) {
    let any = SocketAddr::from(([0, 0, 0, 0], PORT));
    let mut listener = runtime.net().listen(any).await.expect("the port is free");
    while let Ok((stream, _)) = listener.accept().await {
        runtime.spawn("follow", follow(stream)).detach();
    }
}

/// A leader sends `each` frames to each of two followers.
pub fn frames(each: u64) {
    let mut sim = sim();
    let handle = sim.handle();
    let done = sim.block_on(async move {
        add_followers(&handle);
        let leader = handle.runtime(handle.add_node(NodeSpec::new("leader", [10, 0, 0, 1])));
        let leading = FOLLOWERS.map(|ip| {
            let runtime = leader.clone();
            leader.spawn("lead", async move {
                // Until the follower listens.
                runtime.sleep(Duration::from_millis(1)).await;
                let to = SocketAddr::from((ip, PORT));
                lead(runtime.net().connect(to).await.expect("the follower listens"), each).await;
            })
        });
        for task in leading {
            task.await.expect("every frame is acknowledged");
        }
    });
    done.expect("the world runs to its end");
}

/// Three nodes with a timer of 50 ms, for so much simulated time.
pub fn idle(time: Duration) {
    let mut sim = sim();
    let handle = sim.handle();
    let done = sim.block_on(async move {
        for (name, last) in [("a", 1), ("b", 2), ("c", 3)] {
            let ticks = |runtime: SimRuntime| async move {
                loop {
                    runtime.sleep(Duration::from_millis(50)).await;
                }
            };
            let node = handle.add_node(NodeSpec::new(name, [10, 0, 0, last]).start(ticks));
            handle.start(node).expect("it is not up yet");
        }
        handle.control().sleep(time).await;
    });
    done.expect("the world runs to its end");
}

/// A world of three nodes is made, boots and is dropped.
pub fn world(_: u32) {
    let mut sim = sim();
    let handle = sim.handle();
    let done = sim.block_on(async move {
        for (name, last) in [("a", 1), ("b", 2), ("c", 3)] {
            let boots = |runtime: SimRuntime| async move {
                runtime.sleep(Duration::from_millis(1)).await;
            };
            let node = handle.add_node(NodeSpec::new(name, [10, 0, 0, last]).start(boots));
            handle.start(node).expect("it is not up yet");
        }
        handle.control().sleep(Duration::from_millis(2)).await;
    });
    done.expect("the world runs to its end");
}
