//! What the schema cannot say: names that refer to each other, ranges that depend on each other, promises
//! that contradict each other.

mod checks;
mod faults;

use crate::document::{Document, Step};
use crate::names;
use crate::problem::Problem;
use crate::ranges::CountRange;
use crate::scenario::{Controllers, Scenario, Setting};
use crate::units::Dur;
use crate::workload::{AcksSetting, Admin, AdminOperation, ProducerProperties, Workload, WorkloadKind};
use Step::{Index, Key};
use std::collections::{BTreeMap, BTreeSet};

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
    check.workloads(rules);
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
        let (budget, topology) = (self.scenario.budget.brokers_impaired, &self.scenario.topology);
        let separate = match topology.controllers {
            Controllers::Combined => 0,
            Controllers::Separate(count) => i64::from(count),
        };
        let machines = topology.brokers.low() + separate;
        if i64::from(budget) > machines {
            let message = format!("`brokers_impaired` is {budget}, but the cluster may have only {machines}");
            self.at(&[Key("budget"), Key("brokers_impaired")], message);
        }
    }

    fn topology(&mut self) {
        let topology = &self.scenario.topology;
        let several = topology.brokers.low() > 1 || topology.controllers != Controllers::Combined;
        if !topology.releases.is_empty() && !several {
            let message = "`releases` needs a cluster of several nodes";
            self.at(&[Key("topology"), Key("releases")], message);
        }
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
        self.settings(&[Key("topology"), Key("properties")], &topology.properties, rules.broker);
        for (index, topic) in topology.topic.iter().enumerate() {
            let path = [Key("topology"), Key("topic"), Index(index), Key("config")];
            self.settings(&path, &topic.config, rules.topic);
        }
    }

    /// Every value that may be drawn has to be possible.
    fn settings(&mut self, table: &[Step<'_>], settings: &BTreeMap<String, Setting>, rule: PropertyRule) {
        for (name, setting) in settings {
            for (index, value) in setting.values().iter().enumerate() {
                let Err(message) = rule(name, &value.0) else { continue };
                let place = match setting {
                    Setting::Fixed(_) => vec![Key(name)],
                    Setting::Any(_) => vec![Key(name), Key("any"), Index(index)],
                };
                self.at(&[table, &place[..]].concat(), message);
            }
        }
    }

    /// Whether a range stays within what is possible.
    fn within(&mut self, path: &[Step<'_>], what: &str, range: CountRange, low: i64, high: i64) {
        if range.low() < low || range.high() > high {
            self.at(path, format!("`{what}` must be from {low} to {high}, not {range}"));
        }
    }

    fn workloads(&mut self, rules: Option<&PropertyRules>) {
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
            if let WorkloadKind::Admin(admin) = &workload.kind {
                self.administrator(index, workload, admin, rules);
            }
        }
        if !writes {
            self.at(
                &[Key("workload")],
                "no workload writes: there would be nothing to check (add kind = \"append-unique\")",
            );
        }
    }

    fn administrator(
        &mut self,
        index: usize,
        workload: &Workload,
        admin: &Admin,
        rules: Option<&PropertyRules>,
    ) {
        let path = |key| [Key("workload"), Index(index), Key(key)];
        let scenario = self.scenario;
        let alters = admin.operations.contains(&AdminOperation::AlterTopicConfig);
        if alters == admin.config.is_empty() {
            self.at(&path("operations"), "`alter-topic-config` and `config` need each other");
        }
        for (name, value) in &admin.config {
            if let Some(Err(message)) = rules.map(|rules| (rules.topic)(name, &value.0.replace('#', "1"))) {
                let path = [Key("workload"), Index(index), Key("config"), Key(name)];
                self.at(&path, message);
            }
        }
        if !admin.operations.contains(&AdminOperation::RecreateTopic) {
            return;
        }
        // Whoever re-creates a topic must know which one there is.
        let recreates = |other: &Workload| match &other.kind {
            WorkloadKind::Admin(admin) => admin.operations.contains(&AdminOperation::RecreateTopic),
            _ => false,
        };
        let shares = |other: &Workload| other.topics.iter().any(|topic| workload.topics.contains(topic));
        let others = scenario.workload.iter().filter(|other| recreates(other) && shares(other)).count() - 1;
        if others > 0 || workload.clients > 1 {
            self.at(&path("operations"), "only one client may `recreate-topic` a topic");
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
