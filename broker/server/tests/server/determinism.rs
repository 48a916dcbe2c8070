//! One seed, one run: a broker with clients leaves the same trace twice, and other seeds leave others.

use crate::common::peer::Peer;
use crate::common::requests::*;
use crate::common::*;
use burnin_engine::{NodeSpec, Sim, SimConfig, Trace};
use burnin_runtime::{Runtime, Task};
use std::time::Duration;

/// Writers and readers around a broker that loses power and comes back.
fn traced(seed: u64) -> Trace {
    let mut sim = Sim::new(seed, SimConfig::default());
    let handle = sim.handle();
    let server = handle.add_node(NodeSpec::new("server", SERVER_IP));
    let client = handle.add_node(NodeSpec::new("client", [10, 0, 0, 2]));
    let world = handle.clone();
    sim.block_on(async move {
        for life in 0..3 {
            let broker = start_in(&world, server, &sim_config("")).await.expect("the broker starts");
            let runtime = world.runtime(client);
            let mut tasks = Vec::new();
            for number in 0..4 {
                let own = runtime.clone();
                tasks.push(runtime.spawn("client", async move {
                    let mut peer = Peer::connect(&own, (SERVER_IP, 9092).into()).await;
                    let topic = format!("topic-{}", (life + number) % 5);
                    peer.send(7, create(&topic, 2, &[])).await;
                    for _ in 0..20 {
                        peer.send(9, produce(&topic, 0, -1, batch(&["a", "b"]))).await;
                        peer.send(12, fetch(&topic, 0, 0).with_session_epoch(0).with_max_wait_ms(5)).await;
                    }
                    while peer.frame().await.is_some() {}
                }));
            }
            runtime.sleep(Duration::from_millis(30)).await;
            world.power_loss(server).expect("the machine is up");
            drop(broker);
            for task in tasks {
                task.abort();
            }
            world.start(server).expect("the machine is down");
        }
    })
    .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    sim.trace()
}

#[test]
fn equal_seeds_leave_equal_traces() {
    let traces: Vec<Trace> = (0..10).map(traced).collect();
    for (seed, trace) in traces.iter().enumerate() {
        assert_eq!(*trace, traced(seed as u64), "seed {seed}");
    }
    assert!(traces.windows(2).all(|pair| pair[0] != pair[1]));
}
