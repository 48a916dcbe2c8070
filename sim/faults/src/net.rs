//! Faults of the network.
//!
//! Can: cut the links between nodes in one direction or both, in several shapes, break or end or half-forget
//! the connections between them, make links slow, have a node refuse or ignore new connections.
//! Never: drops bytes from the middle of a stream. TCP stalls, ends or breaks.

use crate::cast::Cast;
use burnin_engine::{LinkModel, SimHandle, SimNode};
use burnin_scenario::{Cut, Shape};

/// A directed link.
pub(crate) type Edge = (SimNode, SimNode);

/// The directed links between two sides that a cut covers.
pub(crate) fn edges_between(first: &[SimNode], second: &[SimNode], direction: Cut) -> Vec<Edge> {
    let mut edges = Vec::new();
    for a in first {
        for b in second.iter().filter(|b| *b != a) {
            if direction != Cut::In {
                edges.push((*a, *b));
            }
            if direction != Cut::Out {
                edges.push((*b, *a));
            }
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// The directed links that a shape cuts, around `centre`, among the brokers and controllers (and for `isolate` the
/// clients).
pub(crate) fn edges_of_shape(
    cast: &Cast,
    shape: Shape,
    centre: &[SimNode],
    direction: Cut,
    pick: &mut impl FnMut(usize) -> usize,
) -> Result<Vec<Edge>, String> {
    // Separate controllers are cut apart as the brokers are.
    let brokers: Vec<SimNode> = cast.machines().map(|machine| machine.node).collect();
    let few = |least: usize| match brokers.len() < least {
        true => Err(format!("this shape needs at least {least} machines, there are {}", brokers.len())),
        false => Ok(()),
    };
    match shape {
        Shape::Isolate => {
            let machines = cast.machines().map(|machine| machine.node);
            let others: Vec<SimNode> =
                machines.chain(cast.clients.iter().copied()).filter(|node| !centre.contains(node)).collect();
            Ok(edges_between(centre, &others, direction))
        }
        Shape::Halves => {
            few(2)?;
            let order = shuffled(&brokers, pick);
            let (left, right) = order.split_at(order.len() / 2);
            Ok(edges_between(left, right, direction))
        }
        Shape::Ring => {
            few(4)?;
            let order = shuffled(&brokers, pick);
            let count = order.len();
            let mut edges = Vec::new();
            for a in 0..count {
                for b in (0..count).filter(|b| *b != a && (a + 1) % count != *b && (*b + 1) % count != a) {
                    edges.push((order[a], order[b]));
                }
            }
            Ok(edges)
        }
        Shape::Bridge => {
            few(3)?;
            let order = shuffled(&brokers, pick);
            let (left, right) = order[1..].split_at((order.len() - 1) / 2);
            Ok(edges_between(left, right, direction))
        }
    }
}

fn shuffled(nodes: &[SimNode], pick: &mut impl FnMut(usize) -> usize) -> Vec<SimNode> {
    let mut rest = nodes.to_vec();
    let mut order = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        order.push(rest.remove(pick(rest.len())));
    }
    order
}

pub(crate) fn cut(sim: &SimHandle, edges: &[Edge]) -> Result<(), String> {
    if edges.is_empty() {
        return Err("no link lies between the two sides".to_owned());
    }
    edges
        .iter()
        .try_for_each(|(from, to)| sim.net().partition_one_way(*from, *to))
        .map_err(|error| error.to_string())
}

pub(crate) fn heal(sim: &SimHandle, edges: &[Edge]) -> Result<(), String> {
    edges
        .iter()
        .try_for_each(|(from, to)| sim.net().heal_one_way(*from, *to))
        .map_err(|error| error.to_string())
}

/// Does something to the connections of every pair; how many were hit. None is an error: the fault waits.
pub(crate) fn each_pair(
    first: &[SimNode],
    second: &[SimNode],
    mut hit: impl FnMut(SimNode, SimNode) -> Result<usize, String>,
) -> Result<usize, String> {
    let mut total = 0;
    let mut why = "no connection lies between the two sides".to_owned();
    for a in first {
        for b in second.iter().filter(|b| *b != a) {
            match hit(*a, *b) {
                Ok(count) => total += count,
                Err(error) => why = error,
            }
        }
    }
    if total == 0 { Err(why) } else { Ok(total) }
}

/// Gives the links between two sides another model, or their own again.
pub(crate) fn slow(sim: &SimHandle, first: &[SimNode], second: &[SimNode], model: Option<LinkModel>) {
    for a in first {
        for b in second.iter().filter(|b| *b != a) {
            sim.net().set_link(*a, *b, model);
        }
    }
}
