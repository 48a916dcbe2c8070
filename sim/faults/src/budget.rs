//! The impairment budget: how many machines are dead, cut off, paused or on a failing disk at once.
//!
//! A cut link impairs neither of its ends for certain: what counts is how few machines one must leave out so that
//! the others all reach each other. Cutting a leader off from two followers impairs one machine, not three.

use crate::cast::Cast;
use crate::net::Edge;
use burnin_engine::SimNode;
use burnin_scenario::Action;
use std::collections::BTreeSet;

/// Whether a fault impairs whom it hits. Links to clients, wall clocks and slow things impair nobody.
pub(crate) fn impairs(action: &Action) -> bool {
    !matches!(
        action,
        Action::ClockJump { .. }
            | Action::ClockDrift { .. }
            | Action::DiskSlow { .. }
            | Action::DiskBitRot { .. }
            | Action::NetReset { .. }
            | Action::NetEnd { .. }
            | Action::NetHalfOpen { .. }
            | Action::NetBlackhole { .. }
            | Action::NetSlow { .. }
            | Action::NetLossy { .. }
    )
}

/// How many machines are impaired when these are down and these links are cut.
pub(crate) fn impaired(cast: &Cast, down: &[SimNode], cut: &[Edge]) -> usize {
    let ours = |node: &SimNode| cast.on(*node).is_some();
    let down: BTreeSet<SimNode> = down.iter().copied().filter(|node| ours(node)).collect();
    let links: BTreeSet<Edge> = cut
        .iter()
        .filter(|(a, b)| ours(a) && ours(b) && !down.contains(a) && !down.contains(b))
        .map(|(a, b)| (*a.min(b), *a.max(b)))
        .collect();
    down.len() + cover(&links.into_iter().collect::<Vec<_>>())
}

/// The smallest number of machines that touch every link: there are few machines, so try.
fn cover(links: &[Edge]) -> usize {
    let Some((a, b)) = links.first().copied() else { return 0 };
    let without = |gone: SimNode| -> Vec<Edge> {
        links.iter().copied().filter(|(a, b)| *a != gone && *b != gone).collect()
    };
    1 + cover(&without(a)).min(cover(&without(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::Broker;
    use burnin_engine::{NodeSpec, Sim, SimConfig};
    use burnin_history::NodeId;
    use std::net::Ipv4Addr;

    #[test]
    fn cut_links_impair_as_few_machines_as_must_be_left_out() {
        let sim = Sim::new(1, SimConfig::default());
        let add = |number: u8| {
            sim.handle().add_node(NodeSpec::new(format!("n{number}"), Ipv4Addr::new(10, 0, 0, number)))
        };
        let nodes: Vec<SimNode> = (1..=6).map(add).collect();
        let node = |number: usize| nodes[number - 1];
        let broker = |id: usize| Broker { id: NodeId(id as i32), node: node(id), voter: true };
        let cast = Cast { brokers: (1..=5).map(broker).collect(), ..Cast::default() };
        let impaired = |down: &[usize], cut: &[(usize, usize)]| {
            let down: Vec<SimNode> = down.iter().map(|number| node(*number)).collect();
            let both = |(a, b): &(usize, usize)| [(node(*a), node(*b)), (node(*b), node(*a))];
            impaired(&cast, &down, &cut.iter().flat_map(both).collect::<Vec<_>>())
        };
        assert_eq!(impaired(&[], &[]), 0);
        assert_eq!(impaired(&[], &[(1, 2), (1, 3), (1, 4), (1, 5)]), 1, "one is isolated");
        assert_eq!(impaired(&[1], &[(1, 2)]), 1, "it is down anyway");
        assert_eq!(impaired(&[1, 1], &[(2, 3)]), 2);
        assert_eq!(impaired(&[], &[(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)]), 2, "halves");
        assert_eq!(impaired(&[], &[(1, 6)]), 0, "a link to a client");
    }
}
