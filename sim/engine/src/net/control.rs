//! The network's faults.
//!
//! Can: cut and heal links in one direction or both, change what a link is like, reset, end, half-forget or
//! swallow the connections between two nodes, have a node refuse or ignore new connections.
//! Never: touches the bytes of a stream (see `link.rs` and `conn.rs`), nor a node's own loopback unless it is
//! named twice.

use super::conn::Phase;
use super::{Flags, LinkModel};
use crate::node::{FaultResult, SimNode, code, refuse};
use crate::trace::TraceKind;
use crate::world::{State, World};
use std::io;

/// What the network did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Connections opened.
    pub connections: u64,
    /// Connects refused.
    pub refused: u64,
    /// Resets sent.
    pub resets: u64,
    /// Deliveries (several segments may arrive as one).
    pub deliveries: u64,
    /// Bytes delivered.
    pub bytes: u64,
}

/// The network's control plane.
#[derive(Clone)]
pub struct NetControl {
    world: World,
}

impl NetControl {
    pub(crate) fn new(world: World) -> Self {
        NetControl { world }
    }

    fn fault<R>(&self, parameter: u64, node: SimNode, apply: impl FnOnce(&mut State) -> R) -> R {
        self.world.with(|s| {
            s.record(TraceKind::Fault, node, code::NET, parameter);
            apply(s)
        })
    }

    /// The model of every link that has none of its own.
    pub fn set_default(&self, model: LinkModel) {
        self.fault(1, SimNode::CONTROL, |s| s.net.default = model);
    }

    /// The model of both directions between two nodes; `None` for the default.
    pub fn set_link(&self, a: SimNode, b: SimNode, model: Option<LinkModel>) {
        self.set_link_one_way(a, b, model);
        self.set_link_one_way(b, a, model);
    }

    /// The model of one direction; `None` for the default.
    pub fn set_link_one_way(&self, from: SimNode, to: SimNode, model: Option<LinkModel>) {
        self.fault(2 | u64::from(to.0) << 8, from, |s| s.link(from, to).model = model.map(Box::new));
    }

    /// Cuts both directions. Partitions add up: each needs its own `heal`.
    pub fn partition(&self, a: SimNode, b: SimNode) -> FaultResult {
        if a == b {
            return refuse("partition of a node from itself");
        }
        self.partition_one_way(a, b)?;
        self.partition_one_way(b, a)
    }

    /// Cuts one direction: what `from` sends does not reach `to`.
    pub fn partition_one_way(&self, from: SimNode, to: SimNode) -> FaultResult {
        if from == to {
            return refuse("partition of a node from itself");
        }
        self.fault(3 | u64::from(to.0) << 8, from, |s| s.link(from, to).cuts += 1);
        Ok(())
    }

    /// Takes back one `partition`.
    pub fn heal(&self, a: SimNode, b: SimNode) -> FaultResult {
        self.heal_one_way(a, b)?;
        self.heal_one_way(b, a)
    }

    /// Takes back one `partition_one_way`.
    pub fn heal_one_way(&self, from: SimNode, to: SimNode) -> FaultResult {
        self.fault(4 | u64::from(to.0) << 8, from, |s| {
            let link = s.link(from, to);
            if link.cuts == 0 {
                let (a, b) = (s.node(from).name.clone(), s.node(to).name.clone());
                return refuse(format!("heal {a} to {b}: the link is not cut"));
            }
            link.cuts -= 1;
            s.net_link_back(from, to);
            Ok(())
        })
    }

    /// Takes back every partition, every link model, and every refusing or ignoring of connects.
    pub fn heal_all(&self) {
        self.fault(5, SimNode::CONTROL, |s| {
            let nodes = s.nodes.len() as u32;
            s.net.flags.fill(Flags::default());
            for (from, to) in
                (0..nodes).flat_map(|from| (0..nodes).map(move |to| (SimNode(from), SimNode(to))))
            {
                let link = s.link(from, to);
                link.model = None;
                if std::mem::take(&mut link.cuts) > 0 {
                    s.net_link_back(from, to);
                }
            }
        });
    }

    /// Resets every connection between two nodes, as a middlebox does: both sides see `ConnectionReset` now.
    /// Gives their number; none is an error.
    pub fn reset_connections(&self, a: SimNode, b: SimNode) -> FaultResult<usize> {
        self.each_connection(6, a, b, |s, index| {
            for side in 0..2 {
                s.net_break(index, side, io::ErrorKind::ConnectionReset);
            }
        })
    }

    /// Ends every connection between two nodes in order: both sides read what was sent and then the end.
    pub fn end_connections(&self, a: SimNode, b: SimNode) -> FaultResult<usize> {
        self.each_connection(7, a, b, |s, index| {
            for side in 0..2 {
                s.net_finish(index, side);
            }
        })
    }

    /// Has `forgets` forget its connections to `remembers`: its programs see `ConnectionReset`, and the other
    /// side hears nothing until it sends something, which is answered by a reset.
    pub fn half_open(&self, forgets: SimNode, remembers: SimNode) -> FaultResult<usize> {
        self.each_connection(8, forgets, remembers, |s, index| {
            let side = usize::from(s.conn(index).sides[0].node != forgets);
            s.net_forget_side(index, side);
            s.net_break(index, side, io::ErrorKind::ConnectionReset);
        })
    }

    /// Swallows every packet of the present connections between two nodes, for ever, while new ones work (a
    /// middlebox lost its entries). Both sides hear nothing until their retransmissions time out.
    pub fn blackhole_connections(&self, a: SimNode, b: SimNode) -> FaultResult<usize> {
        self.each_connection(9, a, b, |s, index| s.conn(index).blackhole = true)
    }

    /// Whether the node answers every connect with a reset.
    pub fn refuse_connects(&self, node: SimNode, refuse: bool) {
        self.fault(10 | u64::from(refuse) << 8, node, |s| s.net.flags[node.at()].refuse = refuse);
    }

    /// Whether the node answers no connect at all.
    pub fn hang_connects(&self, node: SimNode, hang: bool) {
        self.fault(11 | u64::from(hang) << 8, node, |s| s.net.flags[node.at()].hang = hang);
    }

    /// What the network did so far.
    pub fn stats(&self) -> NetStats {
        self.world.with(|s| s.net.stats)
    }

    /// How many connections exist.
    pub fn connections(&self) -> usize {
        self.world.with(|s| s.net.conns.iter().filter(|slot| slot.conn.is_some()).count())
    }

    fn each_connection(
        &self,
        parameter: u64,
        a: SimNode,
        b: SimNode,
        mut apply: impl FnMut(&mut State, u32),
    ) -> FaultResult<usize> {
        self.fault(parameter | u64::from(b.0) << 8, a, |s| {
            let mut hit = 0;
            for index in 0..s.net.conns.len() as u32 {
                let Some(conn) = s.net.conns[index as usize].conn.as_deref() else { continue };
                let ends = (conn.sides[0].node, conn.sides[1].node);
                if conn.phase == Phase::Open && (ends == (a, b) || ends == (b, a)) {
                    hit += 1;
                    apply(s, index);
                    s.net_free_if_unused(index);
                }
            }
            if hit == 0 {
                let (a, b) = (s.node(a).name.clone(), s.node(b).name.clone());
                return refuse(format!("no connection between {a} and {b}"));
            }
            Ok(hit)
        })
    }
}

impl State {
    /// A link is whole again.
    fn net_link_back(&mut self, from: SimNode, to: SimNode) {
        for index in 0..self.net.conns.len() as u32 {
            for side in 0..2 {
                let conn = self.net.conns[index as usize].conn.as_deref();
                if conn.is_some_and(|c| c.sides[side].node == from && c.sides[1 - side].node == to) {
                    self.net_path_back(index, side);
                }
            }
        }
    }
}
