//! What this target can do, and what of a plan it must leave out.
//!
//! Can: `process` (kill, stop, restart, pause). Cannot: `power` (a killed process leaves its page cache to the
//! kernel), `net`, `disk`, `clock`, `releases` (there is one program); it arms no planted bug (`mutants`: the production broker has none), and it
//! sees no broker from inside (`white-box`).

use burnin_report::Lacking;
use burnin_scenario::{Capability, CheckKind, Plan, ScheduledFault};
use std::collections::{BTreeMap, BTreeSet};

/// What the target can do.
const CAN: [Capability; 1] = [Capability::Process];

/// Events of `sometimes` checks that clients tell of, and that faults bring about. What an administrator did
/// (`admin:OPERATION`) clients tell of as well; of others only a broker's inside can.
const SEEN_BY_CLIENTS: [&str; 2] = ["attempt-retried", "outcome-maybe"];

/// What of a plan can be run here.
pub(crate) struct Fit {
    /// The plan without the faults that are impossible.
    pub plan: Plan,
    /// What was left out, by what it lacks.
    pub lacking: Vec<Lacking>,
    /// Nothing of it can be run: why.
    pub skipped: Option<String>,
}

/// Whether the target can do what needs this capability.
pub fn can(capability: Capability) -> bool {
    CAN.contains(&capability)
}

/// Whether only a broker's inside can tell that this event of a `sometimes` check happened.
pub fn white_box(event: &str) -> bool {
    !event.starts_with("fault:") && !event.starts_with("admin:") && !SEEN_BY_CLIENTS.contains(&event)
}

/// Whether faults bring this event of a `sometimes` check about: without some of them nobody knows whether the
/// others are enough.
pub fn takes_faults(event: &str) -> bool {
    SEEN_BY_CLIENTS.contains(&event)
}

/// Whether a checker finds anything here: of some, all that they look for is inside of the brokers.
pub(crate) fn judges(checker: &str) -> bool {
    let property = burnin_checkers::properties().into_iter().find(|property| property.id == checker);
    property.is_none_or(|property| !property.seen_outside.is_empty())
}

/// Takes out of a plan what cannot be done.
pub(crate) fn fit(plan: &Plan, armed: bool) -> Fit {
    let mut lacking: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut lacks = |capability, what: String| {
        let skipped: &mut Vec<String> = lacking.entry(capability).or_default();
        if !skipped.contains(&what) {
            skipped.push(what);
        }
    };
    let impossible = impossible(plan);
    for entry in &plan.schedule {
        if let Some(capability) = impossible.get(entry.id.as_str()) {
            lacks(capability.name(), format!("fault {} ({})", entry.fault(), entry.action.name()));
        }
    }
    for check in &plan.check {
        match &check.kind {
            CheckKind::Sometimes { event, .. } if white_box(event) => {
                lacks("white-box", format!("check {} (sometimes {event})", check.id));
            }
            CheckKind::Sometimes { event, .. } if takes_faults(event) => {
                for capability in impossible.values().collect::<BTreeSet<_>>() {
                    lacks(capability.name(), format!("check {} (sometimes {event})", check.id));
                }
            }
            CheckKind::Failover { .. } => lacks("white-box", format!("check {} (failover)", check.id)),
            CheckKind::Progress { .. } if burnin_run::machines(plan).len() > 1 => {
                lacks("white-box", format!("check {} (whether replicas are in sync)", check.id));
            }
            CheckKind::KafkaLog { all, forbid } => {
                let asked = |anomaly: &&str| *all || forbid.iter().any(|forbidden| forbidden == anomaly);
                for property in burnin_checkers::properties() {
                    let unseen: Vec<&str> = property.seen_inside.iter().copied().filter(asked).collect();
                    match unseen.join(", ") {
                        unseen if unseen.is_empty() => {}
                        _ if property.seen_outside.is_empty() => {
                            lacks("white-box", format!("checker {}", property.id));
                        }
                        unseen => lacks("white-box", format!("checker {} ({unseen})", property.id)),
                    }
                }
            }
            _ => {}
        }
    }
    let mutant = plan.expect.as_ref().and_then(|expect| expect.mutant.as_ref()).filter(|_| armed);
    if let Some(mutant) = mutant {
        lacks("mutants", format!("planted bug {mutant}"));
    }
    let skipped = match mutant {
        Some(mutant) => Some(format!(
            "target process lacks `mutants`, and the scenario plants {mutant} (--unarmed leaves it out)"
        )),
        None if !plan.topology.releases.is_empty() => {
            lacks("releases", "topology.releases".to_owned());
            Some("target process lacks `releases`, and the scenario's nodes are of several".to_owned())
        }
        None if !plan.schedule.is_empty() && impossible.len() == plan.schedule.len() => {
            let capabilities: BTreeSet<_> = impossible.values().map(|capability| capability.name()).collect();
            let capabilities: Vec<_> = capabilities.into_iter().map(|name| format!("`{name}`")).collect();
            let count = plan.schedule.len();
            Some(format!(
                "target process lacks {}, which all {count} faults need",
                capabilities.join(" and ")
            ))
        }
        // What such an election allows to be lost begins with it, and clients do not see when that is.
        None if plan.topology.topic.iter().any(|topic| burnin_run::elects_uncleanly(plan, topic)) => {
            lacks("white-box", "what an unclean election allows to be lost".to_owned());
            Some(
                "target process lacks `white-box`, without which nobody knows what an unclean election allows to be lost"
                    .to_owned(),
            )
        }
        None => None,
    };
    let mut possible = plan.clone();
    possible.schedule.retain(|entry| !impossible.contains_key(entry.id.as_str()));
    let lacking = lacking
        .into_iter()
        .map(|(capability, skipped)| Lacking { capability: capability.to_owned(), skipped })
        .collect();
    Fit { plan: possible, lacking, skipped }
}

/// The entries that cannot be applied, with what they lack. One that accompanies such an entry cannot either:
/// its moment is that one's.
fn impossible(plan: &Plan) -> BTreeMap<&str, Capability> {
    let own = |entry: &ScheduledFault| entry.needs.iter().copied().find(|need| !CAN.contains(need));
    let mut impossible: BTreeMap<&str, Capability> =
        plan.schedule.iter().filter_map(|entry| Some((entry.id.as_str(), own(entry)?))).collect();
    loop {
        let before = impossible.len();
        for entry in &plan.schedule {
            let with = entry.with.as_deref().and_then(|with| impossible.get(with)).copied();
            if let Some(capability) = with {
                impossible.entry(&entry.id).or_insert(capability);
            }
        }
        if impossible.len() == before {
            return impossible;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnin_scenario::{Check, Scenario, Seed};
    use std::path::Path;

    fn plan(scenario: &str) -> Plan {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(scenario);
        Scenario::load(&path).unwrap().resolve(Seed(1))
    }

    fn capabilities(fit: &Fit) -> Vec<&str> {
        fit.lacking.iter().map(|lacking| lacking.capability.as_str()).collect()
    }

    #[test]
    fn kills_are_possible_and_white_box_checks_are_not() {
        let plan = plan("smoke/kill-loop.toml");
        let fit = fit(&plan, true);
        assert_eq!(fit.plan.schedule, plan.schedule);
        assert_eq!((fit.skipped.as_deref(), capabilities(&fit)), (None, vec!["white-box"]));
        let skipped = &fit.lacking[0].skipped;
        let checkers: Vec<&str> = skipped.iter().filter_map(|what| what.strip_prefix("checker ")).collect();
        assert_eq!(checkers, ["B17", "B18 (acked-nothing)", "W1", "W2", "W3", "W4"]);
        assert!(skipped.contains(&"check recovered (sometimes recovered-unclean)".to_owned()), "{skipped:?}");
    }

    #[test]
    fn of_a_list_of_anomalies_those_are_named_that_nobody_looks_for() {
        let mut plan = plan("smoke/kill-loop.toml");
        let forbid =
            ["lost-write", "wrong-outcome", "images-differ", "two-leaders"].map(str::to_owned).into();
        plan.check = vec![Check { id: "log".to_owned(), kind: CheckKind::KafkaLog { all: false, forbid } }];
        assert_eq!(fit(&plan, true).lacking[0].skipped, ["checker B17", "checker W1", "checker W2"]);
        assert!(judges("B16") && judges("B18") && !judges("B17") && !judges("W3"));
    }

    #[test]
    fn plan_whose_faults_are_all_impossible_is_skipped() {
        let fit = fit(&plan("smoke/power-loss-loop.toml"), true);
        assert!(fit.plan.schedule.iter().all(|entry| entry.action.name().starts_with("process.")));
        if fit.plan.schedule.is_empty() {
            assert!(fit.skipped.unwrap().contains("lacks `power`"));
        }
    }

    #[test]
    fn plan_with_unclean_elections_is_skipped() {
        let fit = fit(&plan("replication/kafka-truncation.toml"), true);
        assert!(fit.skipped.as_ref().unwrap().contains("lacks `white-box`"), "{:?}", fit.skipped);
        let skipped = &fit.lacking[0].skipped;
        assert!(
            skipped.iter().any(|what| what.starts_with("check recovers (whether replicas")),
            "{skipped:?}"
        );
        assert!(skipped.contains(&"what an unclean election allows to be lost".to_owned()), "{skipped:?}");
    }

    #[test]
    fn companions_of_what_is_impossible_are_too() {
        let mut plan = plan("smoke/kill-loop.toml");
        let companion =
            plan.schedule.iter().position(|entry| entry.with.is_some()).expect("seed 1 draws one");
        let with = plan.schedule[companion].with.clone();
        let anchor = plan.schedule.iter().position(|entry| Some(&entry.id) == with.as_ref()).unwrap();
        plan.schedule[anchor].needs = vec![Capability::Net];
        let fit = fit(&plan, true);
        assert_eq!(fit.plan.schedule.len(), plan.schedule.len() - 2);
        assert_eq!(capabilities(&fit), ["net", "white-box"]);
    }

    /// Nobody knows whether the kills alone show what all faults together were to show.
    #[test]
    fn what_faults_bring_about_is_not_demanded_of_some_of_them() {
        let skipped = |scenario: &str| -> Vec<String> {
            let lacking = fit(&plan(scenario), true).lacking;
            lacking.into_iter().filter(|one| one.capability == "net").flat_map(|one| one.skipped).collect()
        };
        let partitions = skipped("smoke/client-partitions.toml");
        for check in ["check retried (sometimes attempt-retried)", "check maybe (sometimes outcome-maybe)"] {
            assert!(partitions.contains(&check.to_owned()), "{partitions:?}");
        }
        assert_eq!(skipped("smoke/kill-loop.toml"), Vec::<String>::new());
    }

    #[test]
    fn planted_bug_skips_the_run_unless_it_is_left_out() {
        let plan = plan("negative/p01-no-deduplication.toml");
        assert!(fit(&plan, true).skipped.unwrap().contains("plants P01"));
        assert!(!capabilities(&fit(&plan, false)).contains(&"mutants"));
    }
}
