//! What is wrong with checks and expectations.

use super::Checker;
use crate::check::{CHECKERS, CheckKind, EVENTS, Expect, anomalies};
use crate::document::Step;
use crate::document::Step::{Index, Key};
use crate::names;
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

    pub(super) fn expectation(&mut self, expect: &Expect) {
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
