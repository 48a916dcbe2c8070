//! What is wrong with faults: when they happen, with whom, to whom, and how hard.

use super::Checker;
use crate::document::Step;
use crate::document::Step::{Index, Key};
use crate::fault::{Fault, FaultKind, Lasting};
use crate::names;
use crate::scenario::Controllers;
use crate::selector::Selector;
use crate::units::Dur;

impl Checker<'_> {
    pub(super) fn faults(&mut self) {
        for (index, fault) in self.scenario.fault.iter().enumerate() {
            self.fault_times(index, fault);
            self.fault_companion(index, fault);
            self.fault_target(index, fault);
            self.fault_parameters(index, fault);
        }
    }

    fn fault_times(&mut self, index: usize, fault: &Fault) {
        let path = |key| [Key("fault"), Index(index), Key(key)];
        let (id, kind) = (&fault.id, fault.kind.name());
        match (fault.kind.lasting(), fault.lasts) {
            (Lasting::Yes, None) => {
                self.at(&path("kind"), format!("fault `{id}` of kind `{kind}` needs a `for`"));
            }
            (Lasting::No, Some(_)) => {
                self.at(
                    &path("for"),
                    format!("a fault of kind `{kind}` is over at once: `for` makes no sense"),
                );
            }
            _ => {}
        }
        if let Some(at) = fault.at
            && at.low() >= self.scenario.run.duration
        {
            let duration = self.scenario.run.duration;
            self.at(
                &path("at"),
                format!("fault `{id}` never happens: `at` is {at}, `duration` ends at {duration}"),
            );
        }
        if let Some(every) = fault.every
            && every.mean < Dur::from_millis(1)
        {
            self.at(
                &path("every"),
                format!("`every` of fault `{id}` has a mean of {}: at least 1ms", every.mean),
            );
        }
    }

    fn fault_companion(&mut self, index: usize, fault: &Fault) {
        let path = |key| [Key("fault"), Index(index), Key(key)];
        let Some(host) = &fault.with else {
            for (key, given) in
                [("after_start", fault.after_start.is_some()), ("after_end", fault.after_end.is_some())]
            {
                if given {
                    self.at(&path(key), format!("`{key}` needs a `with` that says after which fault"));
                }
            }
            return;
        };
        for (key, given) in [("at", fault.at.is_some()), ("every", fault.every.is_some())] {
            if given {
                self.at(
                    &path(key),
                    format!("fault `{}` happens `with` `{host}`: it has no `{key}` of its own", fault.id),
                );
            }
        }
        if fault.after_start.is_some() && fault.after_end.is_some() {
            self.at(&path("after_end"), "`after_start` and `after_end` exclude each other");
        }
        let faults = &self.scenario.fault;
        if !faults.iter().any(|other| other.id == *host) {
            let choices = names::choices(host, faults.iter().map(|other| other.id.as_str()));
            self.at(
                &path("with"),
                format!("fault `{}` goes with the unknown fault `{host}` ({choices})", fault.id),
            );
            return;
        }
        let mut next = Some(host.as_str());
        for _ in 0..=faults.len() {
            next = next.and_then(|id| faults.iter().find(|other| other.id == id)?.with.as_deref());
        }
        if next.is_some() {
            self.at(&path("with"), format!("`with` of fault `{}` leads round in a circle", fault.id));
        }
    }

    fn fault_target(&mut self, index: usize, fault: &Fault) {
        let path = |key| [Key("fault"), Index(index), Key(key)];
        let kind = fault.kind.name();
        match (fault.kind.sides(), &fault.on) {
            (Some(sides), on) => {
                if on.is_some() {
                    self.at(
                        &path("on"),
                        format!("a fault of kind `{kind}` hits two sides: give `between` instead of `on`"),
                    );
                }
                for (number, side) in sides.iter().enumerate() {
                    self.selector(&[Key("fault"), Index(index), Key("between"), Index(number)], side);
                }
                if sides[0] == sides[1] && matches!(sides[0], Selector::Broker(_) | Selector::Client(_)) {
                    self.at(&path("between"), format!("both sides are {}", sides[0]));
                }
            }
            (None, Some(on)) => {
                self.selector(&path("on"), on);
                let net = matches!(fault.kind, FaultKind::NetPartition { .. });
                if on.is_client()
                    && !net
                    && !matches!(fault.kind, FaultKind::NetRefuse {} | FaultKind::NetHangConnects {})
                {
                    self.at(&path("on"), format!("a fault of kind `{kind}` hits brokers, not {on}"));
                }
            }
            (None, None) => {}
        }
    }

    /// Whether the nodes and partitions that a selector names exist.
    fn selector(&mut self, path: &[Step<'_>], selector: &Selector) {
        let topology = &self.scenario.topology;
        match selector {
            Selector::Broker(id) if !(1..=topology.brokers.low()).contains(&i64::from(*id)) => {
                self.at(
                    path,
                    format!(
                        "there may be no {selector}: brokers are numbered from 1 to {}",
                        topology.brokers.low()
                    ),
                );
            }
            Selector::Client(number) if i64::from(*number) > topology.clients.low() => {
                let clients = topology.clients.low();
                self.at(
                    path,
                    format!("there may be no {selector}: clients are numbered from 1 to {clients}"),
                );
            }
            _ => {}
        }
        let Some(partition) = selector.partition() else { return };
        let Some(topic) = topology.topic.iter().find(|topic| topic.name == partition.topic) else {
            let choices =
                names::choices(&partition.topic, topology.topic.iter().map(|topic| topic.name.as_str()));
            self.at(path, format!("unknown topic `{}` in `{selector}` ({choices})", partition.topic));
            return;
        };
        if let Some(number) = partition.partition
            && number >= topic.partitions as i32
        {
            let last = topic.partitions - 1;
            self.at(
                path,
                format!(
                    "there is no partition {number} of `{}`: they are numbered from 0 to {last}",
                    topic.name
                ),
            );
        }
    }

    fn fault_parameters(&mut self, index: usize, fault: &Fault) {
        let path = |key| [Key("fault"), Index(index), Key(key)];
        match &fault.kind {
            FaultKind::DiskSlow { factor } => self.within(&path("factor"), "factor", *factor, 2, 1_000_000),
            FaultKind::DiskFail { count: Some(count), .. }
            | FaultKind::DiskShortWrite { count: Some(count), .. } => {
                self.within(&path("count"), "count", *count, 1, 1_000_000);
            }
            FaultKind::DiskBitRot { bits, .. } => self.within(&path("bits"), "bits", *bits, 1, 1_000_000),
            FaultKind::ProcessWipe {} if self.scenario.topology.controllers == Controllers::Combined => {
                self.at(
                    &path("kind"),
                    "a wiped voter forgets what it voted: `process.wipe` needs separate `controllers`",
                );
            }
            FaultKind::ClockDrift { ppm } => self.within(&path("ppm"), "ppm", *ppm, -500_000, 500_000),
            FaultKind::NetPartition { between, shape, .. } => match (between, shape) {
                (Some(_), Some(_)) => {
                    self.at(&path("shape"), "`between` and `shape` exclude each other");
                }
                (None, Some(_)) if self.scenario.topology.brokers.high() < 2 => {
                    self.at(
                        &path("shape"),
                        "`shape` cuts brokers apart, but there is only one (use `between`)",
                    );
                }
                _ => {}
            },
            _ => {}
        }
    }
}
