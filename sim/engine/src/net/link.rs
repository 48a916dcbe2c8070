//! Links: one per direction between two nodes.
//!
//! Can: delay (a distribution), limit the bandwidth, lose packets (TCP sends them again, so bytes come late),
//! cut a write into segments that arrive apart, be cut (in one direction or both) and be healed.
//! Never: drops, repeats, reorders or changes a byte in the middle of a stream. A stream whose link is cut
//! stalls; when the link heals, it goes on at the sender's next retransmission, as TCP's backoff has it.

use crate::latency::{Latency, chance, nanos};
use crate::node::SimNode;
use crate::world::State;
use burnin_runtime::Entropy;
use std::time::Duration;

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkModel {
    /// One way.
    pub latency: Latency,
    /// Bytes per second; shared by all streams of the direction.
    pub bandwidth: Option<u64>,
    /// The probability that a segment is lost and comes a retransmission timeout later.
    pub loss: f64,
    /// The probability that a write arrives in two segments with a time of their own.
    pub split: f64,
}

impl Default for LinkModel {
    fn default() -> Self {
        LinkModel { latency: Latency::micros(200, 800), bandwidth: None, loss: 0.0, split: 0.01 }
    }
}

impl LinkModel {
    /// Exactly this delay and nothing else.
    pub const fn fixed(latency: Duration) -> LinkModel {
        LinkModel { latency: Latency::Fixed(latency), bandwidth: None, loss: 0.0, split: 0.0 }
    }
}

/// How TCP behaves, in the words of Linux.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TcpModel {
    /// Bytes that may be under way or unread (receive window and send buffer together).
    pub window: usize,
    /// Connections that may wait for `accept`; further SYNs are dropped and sent again.
    pub backlog: usize,
    /// When `connect` to a silent peer fails with `TimedOut` (`tcp_syn_retries`: 127 s).
    pub connect_give_up: Duration,
    /// The first retransmission; each further one takes twice as long.
    pub retransmit_first: Duration,
    /// The longest time between two retransmissions.
    pub retransmit_max: Duration,
    /// When unacknowledged data breaks the connection with `TimedOut` (`tcp_retries2`: about 924 s).
    pub retransmit_give_up: Duration,
}

impl Default for TcpModel {
    fn default() -> Self {
        TcpModel {
            window: 256 * 1024,
            backlog: 128,
            connect_give_up: Duration::from_secs(127),
            retransmit_first: Duration::from_millis(200),
            retransmit_max: Duration::from_secs(120),
            retransmit_give_up: Duration::from_millis(924_600),
        }
    }
}

impl TcpModel {
    /// The first retransmission at or after `now` of what was lost at `since`.
    pub(super) fn retransmission(&self, since: u64, now: u64) -> u64 {
        let (mut at, mut step, max) =
            (since, nanos(self.retransmit_first).max(1), nanos(self.retransmit_max));
        loop {
            at = at.saturating_add(step);
            if at >= now {
                return at;
            }
            step = step.saturating_mul(2).min(max.max(1));
        }
    }
}

/// The state of one direction.
#[derive(Default)]
pub(super) struct Link {
    pub(super) model: Option<Box<LinkModel>>,
    /// How many partitions cut it.
    pub(super) cuts: u32,
    busy_until: u64,
    entropy: Option<Box<Entropy>>,
}

/// When a segment arrives, and whether it may be cut in two.
pub(super) struct Transit {
    pub(super) delay: u64,
    pub(super) split: bool,
}

impl State {
    pub(super) fn link(&mut self, from: SimNode, to: SimNode) -> &mut Link {
        let row = &mut self.net.links[from.at()];
        if row.len() <= to.at() {
            row.resize_with(to.at() + 1, Link::default);
        }
        &mut row[to.at()]
    }

    /// Whether packets of this direction arrive: the link is whole and the receiver has power.
    pub(super) fn path_open(&self, from: SimNode, to: SimNode) -> bool {
        let cut = self.net.links[from.at()].get(to.at()).is_some_and(|link| link.cuts > 0);
        !cut && self.nodes[to.at()].powered
    }

    fn model(&self, from: SimNode, to: SimNode) -> LinkModel {
        match self.net.links[from.at()].get(to.at()).and_then(|link| link.model.as_deref()) {
            Some(model) => *model,
            None if from == to => self.net.loopback,
            None => self.net.default,
        }
    }

    /// Whether writes of one instant must stay apart because each takes its time on the wire.
    pub(super) fn paced(&self, from: SimNode, to: SimNode) -> bool {
        self.model(from, to).bandwidth.is_some()
    }

    /// Sends `bytes` on their way: how long they take.
    pub(super) fn transit(&mut self, from: SimNode, to: SimNode, bytes: usize) -> Transit {
        let model = self.model(from, to);
        if let LinkModel { latency: Latency::Fixed(delay), bandwidth: None, .. } = model
            && model.loss == 0.0
            && model.split == 0.0
        {
            return Transit { delay: nanos(delay), split: false };
        }
        let (now, first) = (self.now, nanos(self.net.tcp.retransmit_first));
        self.link_entropy(from, to);
        let link = self.link(from, to);
        let entropy = link.entropy.as_deref_mut().expect("was made above");
        let mut delay = model.latency.draw(|| entropy.u64());
        let mut timeout = first;
        while chance(entropy, model.loss) && timeout < first << 6 {
            delay += timeout;
            timeout *= 2;
        }
        let split = chance(entropy, model.split);
        if let Some(rate) = model.bandwidth {
            let wire = (bytes as u128 * 1_000_000_000 / u128::from(rate.max(1))) as u64;
            link.busy_until = link.busy_until.max(now) + wire;
            delay += link.busy_until - now;
        }
        Transit { delay, split }
    }

    fn link_entropy(&mut self, from: SimNode, to: SimNode) {
        if self.link(from, to).entropy.is_none() {
            let (a, b) = (self.nodes[from.at()].name.clone(), self.nodes[to.at()].name.clone());
            let entropy = self.engine_entropy(&["net", &a, &b]);
            self.link(from, to).entropy = Some(Box::new(entropy));
        }
    }

    /// Where in `1..len` a write is cut.
    pub(super) fn split_point(&mut self, from: SimNode, to: SimNode, len: u32) -> u32 {
        let entropy = self.link(from, to).entropy.as_deref_mut().expect("a split was drawn from it");
        1 + entropy.below(u64::from(len) - 1) as u32
    }
}
