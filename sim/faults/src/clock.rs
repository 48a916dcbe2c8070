//! Faults of wall clocks.
//!
//! Can: move a node's wall clock forward or back at once, and make it run too fast or too slowly.
//! Never: touches monotonic time. What a drift gained stays after its end, as it would with a real clock.

use burnin_engine::{SimHandle, SimNode};

pub(crate) fn jump(sim: &SimHandle, nodes: &[SimNode], ms: i64) {
    for node in nodes {
        sim.jump_wall(*node, ms);
    }
}

pub(crate) fn drift(sim: &SimHandle, nodes: &[SimNode], ppm: i64) {
    for node in nodes {
        sim.drift(*node, ppm);
    }
}
