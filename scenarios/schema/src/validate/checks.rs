//! What is wrong with checks and expectations.

use super::Checker;
use crate::check::{CheckKind, EVENTS, Expect};
use crate::document::Step;
use crate::document::Step::{Index, Key};
use crate::names;
use crate::workload::WorkloadKind;
use burnin_checkers::Property;
use burnin_runtime::Mutant;
use std::str::FromStr;

impl Checker<'_> {
    pub(super) fn checks(&mut self) {
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
                    let administrators = self.scenario.workload.iter().filter_map(|one| match &one.kind {
                        WorkloadKind::Admin(admin) => Some(&admin.operations),
                        _ => None,
                    });
                    let operations =
                        administrators.flatten().map(|operation| format!("admin:{}", operation.name()));
                    let events = EVENTS.iter().map(|name| (*name).to_owned());
                    let known: Vec<String> = events.chain(faults).chain(operations).collect();
                    let known: Vec<&str> = known.iter().map(String::as_str).collect();
                    self.known(&path("event"), "event", event, &known);
                }
                CheckKind::Progress { .. } | CheckKind::Failover { .. } => {}
            }
        }
    }

    fn known(&mut self, path: &[Step<'_>], what: &str, name: &str, known: &[&str]) {
        if !known.contains(&name) {
            let choices = names::choices(name, known.iter().copied());
            self.at(path, format!("unknown {what} `{name}` ({choices})"));
        }
    }

    pub(super) fn expectation(&mut self, expect: &Expect) {
        let path = |key| [Key("expect"), Key(key)];
        if let Some(mutant) = &expect.mutant
            && Mutant::from_str(mutant).is_err()
        {
            let known: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.info().id).collect();
            self.known(&path("mutant"), "mutant", mutant, &known);
        }
        if let Some(checker) = &expect.checker {
            let known: Vec<&str> = properties().iter().map(|property| property.id).collect();
            self.known(&path("checker"), "checker", checker, &known);
        }
        if let Some(anomaly) = &expect.anomaly {
            let properties = properties();
            let named = properties.iter().find(|property| expect.checker.as_deref() == Some(property.id));
            match named {
                Some(named)
                    if anomalies().contains(&anomaly.as_str())
                        && !named.anomalies().any(|found| found == anomaly) =>
                {
                    let found: Vec<&str> = named.anomalies().collect();
                    let (checker, found) = (named.id, found.join(", "));
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

/// What each checker can find, in the order of their numbers.
fn properties() -> Vec<&'static Property> {
    let mut properties = burnin_checkers::properties();
    properties.sort_by_key(|property| {
        let (kind, number) = property.id.split_at(1);
        (kind, number.parse::<u32>().expect("a letter and a number"))
    });
    properties
}

/// All anomalies of all checkers, each once.
fn anomalies() -> Vec<&'static str> {
    let mut known = Vec::new();
    for anomaly in properties().iter().flat_map(|property| property.anomalies()) {
        if !known.contains(&anomaly) {
            known.push(anomaly);
        }
    }
    known
}
