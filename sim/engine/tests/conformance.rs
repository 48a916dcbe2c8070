//! The simulation keeps the seam's promises: every check between two nodes, on a handful of seeds, twice each
//! with one trace.

use burnin_conformance::{Check, Env};
use burnin_engine::{NodeSpec, Sim, SimConfig, SimError, SimRuntime, Trace};
use std::net::IpAddr;
use std::path::PathBuf;

fn once(check: &Check<SimRuntime>, seed: u64) -> Trace {
    let mut sim = Sim::new(seed, SimConfig::default());
    let handle = sim.handle();
    let ip = IpAddr::from([10, 0, 0, 1]);
    let server = handle.add_node(NodeSpec::new("server", ip));
    let client = handle.add_node(NodeSpec::new("client", [10, 0, 0, 2]));
    let env = Env {
        runtime: handle.runtime(server),
        peer: handle.runtime(client),
        ip,
        dir: PathBuf::from("/data/check"),
    };
    let result = sim.block_on(check.run(env));
    match (check.panics, result) {
        (false, Ok(())) | (true, Err(SimError::Crash { .. })) => sim.trace(),
        (_, result) => panic!("check {} with seed {seed}: {result:?}", check.name),
    }
}

fn run(check: Check<SimRuntime>) {
    for seed in 0..8 {
        assert_eq!(once(&check, seed), once(&check, seed), "check {} with seed {seed}", check.name);
    }
}

burnin_conformance::tests!(SimRuntime, run);
