//! What the schema cannot say: names that refer to each other, ranges that depend on each other, promises
//! that contradict each other.

use crate::check::{CHECKERS, CheckKind, EVENTS, Expect, anomalies};
use crate::document::{Document, Step};
use crate::fault::{Fault, FaultKind, Lasting};
use crate::names;
use crate::problem::Problem;
use crate::ranges::CountRange;
use crate::scenario::Scenario;
use crate::selector::Selector;
use crate::units::Dur;
use crate::workload::{AcksSetting, ProducerProperties, WorkloadKind};
use Step::{Index, Key};
use burnin_runtime::Mutant;
use std::collections::BTreeSet;
use std::str::FromStr;

/// Judges one property: its name and its value. The broker's properties are the broker's business; whoever
/// knows them brings them along.
pub type PropertyRule = fn(&str, &str) -> Result<(), String>;

/// What is known of Kafka's properties.
#[derive(Clone, Copy, Debug)]
pub struct PropertyRules {
    /// Of `[topology.properties]`.
    pub broker: PropertyRule,
    /// Of the `config` of a topic.
    pub topic: PropertyRule,
}

/// Everything that is wrong with a scenario that fits the schema. `stem` is the file's name, which the
/// scenario's name must equal.
pub fn check(
    scenario: &Scenario,
    document: &Document<'_>,
    stem: Option<&str>,
    rules: Option<&PropertyRules>,
) -> Vec<Problem> {
    let mut check = Checker { scenario, document, problems: Vec::new() };
    check.names(stem);
    check.phases();
    check.topology();
    if let Some(rules) = rules {
        check.properties(rules);
    }
    check.workloads();
    check.faults();
    check.checks();
    if let Some(expect) = &scenario.expect {
        check.expectation(expect);
    }
    check.problems
}

struct Checker<'a> {
    scenario: &'a Scenario,
    document: &'a Document<'a>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn at(&mut self, path: &[Step<'_>], message: impl Into<String>) -> &mut Problem {
        self.problems.push(Problem::new(self.document.span(path), message));
        self.problems.last_mut().expect("just pushed")
    }

    fn names(&mut self, stem: Option<&str>) {
        let name = &self.scenario.name;
        if !is_slug(name) {
            self.at(
                &[Key("name")],
                format!("`{name}` is not a scenario name (lower case letters, digits and hyphens)"),
            );
        } else if let Some(stem) = stem
            && stem != name
        {
            self.at(
                &[Key("name")],
                format!("the scenario `{name}` is in a file named `{stem}`: make them equal"),
            );
        }
        let scenario = self.scenario;
        self.unique("workload", "id", scenario.workload.iter().map(|one| one.id.as_str()));
        self.unique("fault", "id", scenario.fault.iter().map(|one| one.id.as_str()));
        self.unique("check", "id", scenario.check.iter().map(|one| one.id.as_str()));
    }

    /// Ids are slugs, and no two of one kind are the same.
    fn unique<'b>(&mut self, list: &str, key: &str, ids: impl Iterator<Item = &'b str>) {
        let mut seen = BTreeSet::new();
        for (index, id) in ids.enumerate() {
            let path = [Key(list), Index(index), Key(key)];
            if !is_slug(id) {
                self.at(&path, format!("`{id}` is not an id (lower case letters, digits and hyphens)"));
            }
            if !seen.insert(id) {
                self.at(&path, format!("there are two of [[{list}]] with the id `{id}`"));
            }
        }
    }

    fn phases(&mut self) {
        let run = &self.scenario.run;
        if run.duration == Dur::ZERO {
            self.at(&[Key("run"), Key("duration")], "`duration` must be longer than 0s");
        }
        let limit = Dur::from_secs(7 * 24 * 3600);
        if run.warmup.max(run.duration).max(run.settle) > limit {
            self.at(&[Key("run")], format!("a phase must not be longer than 7d ({limit})"));
        }
        let (budget, brokers) = (self.scenario.budget.brokers_impaired, self.scenario.topology.brokers.low());
        if i64::from(budget) > brokers {
            let message = format!("`brokers_impaired` is {budget}, but the cluster may have only {brokers}");
            self.at(&[Key("budget"), Key("brokers_impaired")], message);
        }
    }

    fn topology(&mut self) {
        let topology = &self.scenario.topology;
        for (key, range, high) in [("brokers", topology.brokers, 7), ("clients", topology.clients, 100)] {
            self.within(&[Key("topology"), Key(key)], key, range, 1, high);
        }
        let mut seen = BTreeSet::new();
        for (index, topic) in topology.topic.iter().enumerate() {
            let path = |key| [Key("topology"), Key("topic"), Index(index), Key(key)];
            if !is_topic(&topic.name) {
                let rule = "1 to 249 letters, digits, dots, underscores and hyphens, not . or ..";
                self.at(&path("name"), format!("`{}` is not a topic name ({rule})", topic.name));
            }
            if !seen.insert(topic.name.as_str()) {
                self.at(&path("name"), format!("there are two topics named `{}`", topic.name));
            }
            if i64::from(topic.replication_factor) > topology.brokers.low() {
                let message = format!(
                    "`replication_factor` of `{}` is {}, but the cluster may have only {}",
                    topic.name,
                    topic.replication_factor,
                    topology.brokers.low()
                );
                self.at(&path("replication_factor"), message);
            }
        }
    }

    fn properties(&mut self, rules: &PropertyRules) {
        let topology = &self.scenario.topology;
        for (name, value) in &topology.properties {
            if let Err(message) = (rules.broker)(name, &value.0) {
                self.at(&[Key("topology"), Key("properties"), Key(name)], message);
            }
        }
        for (index, topic) in topology.topic.iter().enumerate() {
            for (name, value) in &topic.config {
                if let Err(message) = (rules.topic)(name, &value.0) {
                    self.at(
                        &[Key("topology"), Key("topic"), Index(index), Key("config"), Key(name)],
                        message,
                    );
                }
            }
        }
    }

    /// Whether a range stays within what is possible.
    fn within(&mut self, path: &[Step<'_>], what: &str, range: CountRange, low: i64, high: i64) {
        if range.low() < low || range.high() > high {
            self.at(path, format!("`{what}` must be from {low} to {high}, not {range}"));
        }
    }

    fn workloads(&mut self) {
        let topics: Vec<&str> =
            self.scenario.topology.topic.iter().map(|topic| topic.name.as_str()).collect();
        let mut writes = false;
        for (index, workload) in self.scenario.workload.iter().enumerate() {
            for (number, topic) in workload.topics.iter().enumerate() {
                if !topics.contains(&topic.as_str()) {
                    let path = [Key("workload"), Index(index), Key("topics"), Index(number)];
                    let choices = names::choices(topic, topics.iter().copied());
                    self.at(
                        &path,
                        format!(
                            "workload `{}` works on the unknown topic `{topic}` ({choices})",
                            workload.id
                        ),
                    );
                }
            }
            if let WorkloadKind::AppendUnique(append) = &workload.kind {
                writes = true;
                let path = |key| [Key("workload"), Index(index), Key(key)];
                self.within(
                    &path("records_per_batch"),
                    "records_per_batch",
                    append.records_per_batch,
                    1,
                    100_000,
                );
                let size = append.record_size;
                if size.low().0 < 40 || size.high().0 > 16 << 20 {
                    self.at(
                        &path("record_size"),
                        format!("`record_size` must be from 40B to 16MiB, not {size}"),
                    );
                }
                self.producer(index, &append.properties);
            }
        }
        if !writes {
            self.at(
                &[Key("workload")],
                "no workload writes: there would be nothing to check (add kind = \"append-unique\")",
            );
        }
    }

    /// The combinations that Kafka's producer refuses (`ProducerConfig.postProcessAndValidateIdempotenceConfigs`).
    fn producer(&mut self, workload: usize, properties: &ProducerProperties) {
        let path = |key| [Key("workload"), Index(workload), Key("properties"), Key(key)];
        if properties.enable_idempotence == Some(true) {
            if let Some(acks) = properties.acks.filter(|acks| *acks != AcksSetting::All) {
                self.at(&path("acks"), format!("an idempotent producer needs acks = \"all\", not {acks}"));
            }
            if properties.retries == Some(0) {
                self.at(&path("retries"), "an idempotent producer needs `retries` above 0");
            }
            if let Some(many) = properties.max_in_flight.filter(|many| *many > 5) {
                let key = "max.in.flight.requests.per.connection";
                self.at(&path(key), format!("an idempotent producer needs `{key}` of at most 5, not {many}"));
            }
        }
        let linger = properties.linger_ms.unwrap_or(5);
        let request = properties.request_timeout_ms.unwrap_or(30_000);
        if let Some(delivery) = properties.delivery_timeout_ms
            && u64::from(delivery) < u64::from(linger) + u64::from(request)
        {
            let message = format!(
                "`delivery.timeout.ms` ({delivery}) must be at least `linger.ms` ({linger}) + `request.timeout.ms` ({request})"
            );
            self.at(&path("delivery.timeout.ms"), message);
        }
    }

    fn faults(&mut self) {
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

    fn checks(&mut self) {
        for (index, check) in self.scenario.check.iter().enumerate() {
            let path = |key| [Key("check"), Index(index), Key(key)];
            match &check.kind {
                CheckKind::KafkaLog { all, forbid } => {
                    if *all != forbid.is_empty() {
                        let message =
                            format!("check `{}` needs either `all = true` or a `forbid` list", check.id);
                        self.at(&path("kind"), message);
                    }
                    for (number, anomaly) in forbid.iter().enumerate() {
                        let path = [Key("check"), Index(index), Key("forbid"), Index(number)];
                        self.known(&path, "anomaly", anomaly, &anomalies());
                    }
                }
                CheckKind::Progress { within } if *within > self.scenario.run.settle => {
                    let settle = self.scenario.run.settle;
                    self.at(
                        &path("within"),
                        format!("`within` is {within}, but the run ends {settle} after the heal (`settle`)"),
                    );
                }
                CheckKind::Sometimes { event, .. } => {
                    let faults = self.scenario.fault.iter().map(|fault| format!("fault:{}", fault.id));
                    let known: Vec<String> =
                        EVENTS.iter().map(|name| (*name).to_owned()).chain(faults).collect();
                    let known: Vec<&str> = known.iter().map(String::as_str).collect();
                    self.known(&path("event"), "event", event, &known);
                }
                CheckKind::Progress { .. } => {}
            }
        }
    }

    fn known(&mut self, path: &[Step<'_>], what: &str, name: &str, known: &[&str]) {
        if !known.contains(&name) {
            let choices = names::choices(name, known.iter().copied());
            self.at(path, format!("unknown {what} `{name}` ({choices})"));
        }
    }

    fn expectation(&mut self, expect: &Expect) {
        let path = |key| [Key("expect"), Key(key)];
        if let Some(mutant) = &expect.mutant
            && Mutant::from_str(mutant).is_err()
        {
            let known: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.info().id).collect();
            self.known(&path("mutant"), "mutant", mutant, &known);
        }
        if let Some(checker) = &expect.checker {
            self.known(&path("checker"), "checker", checker, &CHECKERS.map(|(checker, _)| checker));
        }
        if let Some(anomaly) = &expect.anomaly {
            let checker = CHECKERS.iter().find(|(checker, _)| expect.checker.as_deref() == Some(checker));
            match checker {
                Some((checker, found))
                    if anomalies().contains(&anomaly.as_str()) && !found.contains(&anomaly.as_str()) =>
                {
                    let found = found.join(", ");
                    self.at(
                        &path("anomaly"),
                        format!("checker {checker} does not report `{anomaly}` (it reports: {found})"),
                    );
                }
                _ => self.known(&path("anomaly"), "anomaly", anomaly, &anomalies()),
            }
        }
        if expect.near_miss {
            for (key, given) in [("anomaly", expect.anomaly.is_some()), ("checker", expect.checker.is_some())]
            {
                if given {
                    self.at(&path(key), format!("a near miss must find nothing: `{key}` makes no sense"));
                }
            }
            return;
        }
        if expect.mutant.is_some() == expect.wrong_setting.is_some() {
            self.at(&[Key("expect")], "[expect] needs either `mutant` or `wrong_setting`");
        }
        if expect.anomaly.is_none() || expect.checker.is_none() {
            self.at(
                &[Key("expect")],
                "[expect] needs the `anomaly` that must be found and the `checker` that finds it",
            );
        }
    }
}

/// Lower case letters, digits and hyphens.
fn is_slug(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Kafka's rule (`Topic.validate`).
fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}
