//! What came out of a run, as a report.

use crate::history::{Forbids, History};
use crate::outcome::{Broke, Ended};
use burnin_checkers::{self as checkers, Verdict};
use burnin_report::{Build, Class, Crash, FaultLine, RunReport, SCHEMA, Target, Violation};
use burnin_scenario::{CheckKind, Plan};
use std::collections::BTreeMap;

/// What a run took, and where it ran.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// On what it ran.
    pub target: Target,
    /// Simulated time; 0 on real processes.
    pub sim_ns: u64,
    /// Wall-clock time.
    pub wall_ns: u64,
    /// CPU time.
    pub cpu_ns: u64,
    /// Kafka requests that were answered to clients.
    pub requests: u64,
    /// Steps of the engine; 0 on real processes.
    pub events: u64,
    /// The hash of all steps.
    pub trace_hash: String,
}

/// Puts together what is known. The verdict is decided here, in this order: a crash of the system under test,
/// what the checkers found, what got stuck, and only then whether anything was proven at all.
pub fn of_run(
    plan: &Plan,
    history: &mut History,
    ended: Result<Ended, Broke>,
    measured: &Measured,
) -> RunReport {
    let at = history.last().max(measured.sim_ns);
    let complete = matches!(&ended, Ok(ended) if !ended.stopped_early && ended.unproven.is_none());
    let verdict = history.checks.finish(at);
    let mut violations = forbidden(plan, &verdict, complete);
    let (broke, ended) = match ended {
        Ok(ended) => (None, ended),
        Err(broke) => (Some(broke), Ended::default()),
    };
    violations.extend(ended.stuck.first().map(|first| stuck(&ended, first)));
    violations.extend(slow_failover(plan, &ended));
    let (class, anomaly, words, crash) = decide(&violations, &verdict, &ended, broke, complete);
    let mut happened = std::mem::take(&mut history.happened);
    for fired in &ended.fired {
        let id = fired.id.split('#').next().unwrap_or(&fired.id);
        *happened.entry(format!("fault:{id}")).or_default() += 1;
    }
    if let Some(failover) = &ended.failover {
        happened.insert("failover-ms-max".to_owned(), failover.lasted.as_millis() as u64);
    }
    let mut skipped = verdict.skipped.clone();
    if ended.waits > 0 {
        skipped.push(format!("{} faults waited for their target or for the impairment budget", ended.waits));
    }
    if !ended.never_fired.is_empty() {
        skipped.push(format!(
            "these faults waited to the end and never began: {}",
            ended.never_fired.join(", ")
        ));
    }
    RunReport {
        schema: SCHEMA,
        scenario: plan.scenario.clone(),
        seed: plan.seed.0,
        target: measured.target,
        class,
        anomaly,
        verdict: words,
        violations_found: verdict.found_count().max(violations.len() as u64),
        violations,
        crash,
        checked: verdict
            .summaries
            .iter()
            .map(|summary| (summary.checker.to_owned(), summary.checked))
            .collect::<BTreeMap<_, _>>(),
        happened,
        brokers: plan.topology.brokers,
        clients: plan.topology.clients,
        sim_ns: measured.sim_ns,
        wall_ns: measured.wall_ns,
        cpu_ns: measured.cpu_ns,
        requests: measured.requests,
        records: history.records_acked,
        events: measured.events,
        trace_hash: measured.trace_hash.clone(),
        faults: fault_lines(plan, &ended),
        skipped,
        lacking: Vec::new(),
        verified: None,
        reproduce: String::new(),
        directory: None,
        build: Build::current(),
    }
}

/// The violations that the plan's checks forbid.
fn forbidden(plan: &Plan, verdict: &Verdict, complete: bool) -> Vec<Violation> {
    let forbids = Forbids::of(plan);
    // A run that ended early was not read to its end, and that is no fault of the broker.
    let found = verdict.violations.iter().filter(|violation| forbids.forbid(violation));
    found.filter(|violation| complete || violation.class == checkers::Class::Safety).map(violation).collect()
}

fn violation(found: &checkers::Violation) -> Violation {
    Violation {
        checker: found.checker.to_owned(),
        anomaly: found.anomaly.to_owned(),
        class: match found.class {
            checkers::Class::Safety => Class::Safety,
            checkers::Class::Liveness => Class::Liveness,
        },
        at_ns: found.at,
        message: found.message.clone(),
        partition: found.partition.clone(),
        offset: found.offset,
        producer: found.producer,
        seq: found.seq,
    }
}

fn stuck(ended: &Ended, first: &str) -> Violation {
    let more = ended.stuck.len() - 1;
    let rest = if more == 0 { String::new() } else { format!(" ({})", ended.stuck[1..].join("; ")) };
    Violation {
        checker: "B16".to_owned(),
        anomaly: "stuck".to_owned(),
        class: Class::Liveness,
        at_ns: ended.stuck_at,
        message: format!("{first}{rest}"),
        partition: None,
        offset: None,
        producer: None,
        seq: None,
    }
}

fn slow_failover(plan: &Plan, ended: &Ended) -> Option<Violation> {
    let failover = ended.failover.as_ref()?;
    let within = plan.check.iter().find_map(|check| match check.kind {
        CheckKind::Failover { within } => Some(within),
        _ => None,
    })?;
    if failover.lasted <= within.std() {
        return None;
    }
    let lasted = failover.lasted.as_secs_f64();
    Some(Violation {
        checker: "B16".to_owned(),
        anomaly: "slow-failover".to_owned(),
        class: Class::Liveness,
        at_ns: failover.until.as_nanos(),
        message: format!("for {lasted:.1}s, longer than {within}, there was no leader: {}", failover.what),
        partition: None,
        offset: None,
        producer: None,
        seq: None,
    })
}

type Decision = (Class, Option<String>, String, Option<Crash>);

fn decide(
    violations: &[Violation],
    verdict: &Verdict,
    ended: &Ended,
    broke: Option<Broke>,
    complete: bool,
) -> Decision {
    let worst = violations.iter().min_by_key(|violation| (violation.class, violation.at_ns));
    if let Some(Broke::Crash(crash)) = broke {
        let anomaly = if crash.message.contains("assert") { "assertion" } else { "panic" };
        let words = format!("task `{}` of {} panicked: {}", crash.task, crash.node, crash.message);
        return (Class::Crash, Some(anomaly.to_owned()), words, Some(crash));
    }
    if let Some(worst) = worst {
        return (worst.class, Some(worst.anomaly.clone()), worst.message.clone(), None);
    }
    if let Some(Broke::Hung(anomaly, words)) = broke {
        return (Class::Liveness, Some(anomaly.to_owned()), words, None);
    }
    if let Some(why) = &ended.unproven {
        return (Class::Environment, Some("unproven".to_owned()), format!("nothing was proven: {why}"), None);
    }
    match (&verdict.vacuous, complete) {
        (Some(why), _) => {
            (Class::Vacuous, Some("vacuous".to_owned()), format!("nothing was proven: {why}"), None)
        }
        (None, false) => {
            (Class::Unknown, Some("incomplete".to_owned()), "the run ended early".to_owned(), None)
        }
        (None, true) => {
            (Class::Pass, None, format!("{} facts checked, nothing violated", verdict.checked_count()), None)
        }
    }
}

fn fault_lines(plan: &Plan, ended: &Ended) -> Vec<FaultLine> {
    let mut lines: Vec<FaultLine> = ended
        .fired
        .iter()
        .map(|fired| {
            let detail = if fired.detail.is_empty() { String::new() } else { format!(" ({})", fired.detail) };
            FaultLine {
                at_ns: fired.at.as_nanos(),
                for_ns: fired.until.map(|until| until.since(fired.at).as_nanos() as u64),
                kind: fired.kind.clone(),
                target: format!("{}{detail}", fired.on.join(", ")),
                fired: true,
            }
        })
        .collect();
    for entry in plan.schedule.iter().filter(|entry| !ended.fired.iter().any(|fired| fired.id == entry.id)) {
        lines.push(FaultLine {
            at_ns: entry.at.nanos(),
            for_ns: (entry.lasts.nanos() > 0).then(|| entry.lasts.nanos()),
            kind: entry.id.clone(),
            target: entry.target(),
            fired: false,
        });
    }
    lines.sort_by_key(|line| line.at_ns);
    lines
}
