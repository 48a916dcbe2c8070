//! The failure block: what a failing run prints last, in at most [`BLOCK_LINES_MAX`] lines. The seed comes early, the
//! command that repeats it last, and behind it one line for machines.

use crate::exit::Class;
use crate::run::{FaultLine, RunReport, Target};
use crate::text::{Paint, lacks, plural, seconds};
use crate::wrap::{WIDTH, rule, wrap};
use std::fmt::Write;

/// The block is never longer.
pub const BLOCK_LINES_MAX: usize = 30;

const WHAT_LINES_MAX: usize = 7;
const FAULTS_MAX: usize = 6;

/// The block of a run that did not pass. Ends with a newline.
pub fn failure_block(run: &RunReport, paint: Paint) -> String {
    let class = run.effective_class();
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&paint.bad(&rule(&format!("──── BURNIN FAILED ─ {} ─ {} ", run.scenario, kind(run, class)))));
    for text in wrap(&what(run, class), WIDTH - 2, WHAT_LINES_MAX) {
        line(&format!(" {text}"));
    }
    if class != Class::NonDeterminism && run.violations_found > 1 {
        for text in wrap(&more(run), WIDTH - 2, 1) {
            line(&format!(" {text}"));
        }
    }
    line("");
    let shape = format!(
        "{} · {} · {} of {} faults fired",
        plural(run.brokers.into(), "broker"),
        plural(run.clients.into(), "client"),
        run.fired_count(),
        run.faults.len(),
    );
    line(&field("seed", &format!("{:<14} {shape}", run.seed)));
    line(&field("ran", &ran(run)));
    line(&field("verified", &verified(run)));
    if class != Class::NonDeterminism {
        faults(run, &mut line);
    }
    line("");
    let lacks = run.lacking.iter().map(|lacking| lacks(run, lacking));
    for (index, skipped) in lacks.chain(run.skipped.iter().cloned()).take(2).enumerate() {
        let name = if index == 0 { "skipped" } else { "" };
        wrap(&skipped, WIDTH - 12, 1).iter().for_each(|text| line(&field(name, text)));
    }
    if let Some(directory) = &run.directory {
        line(&field("report", directory));
    }
    line(&field("build", &run.build.to_string()));
    line("");
    line(&paint.strong(&field("reproduce", &run.reproduce)));
    line(&paint.bad(&rule("")));
    line(&machine_line(run, class));
    let lines = out.lines().count();
    assert!(lines <= BLOCK_LINES_MAX, "the failure block has {lines} lines:\n{out}");
    out
}

fn kind(run: &RunReport, class: Class) -> String {
    match (&run.anomaly, class) {
        (Some(anomaly), Class::Safety | Class::Liveness) => format!("{class}: {anomaly}"),
        (_, Class::NonDeterminism) => "NON-DETERMINISTIC".to_string(),
        (_, Class::Vacuous) => "checked nothing".to_string(),
        _ => class.to_string(),
    }
}

/// The first finding in words. When the replay differs, that is all that is claimed.
fn what(run: &RunReport, class: Class) -> String {
    match (class, &run.crash, run.violations.first(), &run.verified) {
        (Class::NonDeterminism, _, _, Some(replay)) => {
            let place = match replay.diverged_at_event {
                Some(event) => format!("the runs differ from event {event} on"),
                None => "where they part is not known".to_string(),
            };
            format!(
                "The same seed gave two different runs: trace hash {}, and {} when it was replayed in a fresh process; \
                 {place}. Nothing else is claimed about this run.",
                run.trace_hash, replay.trace_hash
            )
        }
        (Class::Crash, Some(crash), _, _) => format!(
            "{} panicked at {} (event {}) in task {}: {}",
            crash.node,
            seconds(crash.at_ns),
            crash.event,
            crash.task,
            crash.message
        ),
        (Class::Safety | Class::Liveness, _, Some(violation), _) => {
            format!("{} ({})", violation.message, violation.checker)
        }
        _ => run.verdict.clone(),
    }
}

fn more(run: &RunReport) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for violation in run.violations.iter().skip(1) {
        let kind = format!("{} {}", violation.checker, violation.anomaly);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
    format!("and {}{kinds}", plural(run.violations_found - 1, "more violation"))
}

fn ran(run: &RunReport) -> String {
    match run.target {
        Target::Sim => {
            format!("{} simulated, {} steps, trace hash {}", seconds(run.sim_ns), run.events, run.trace_hash)
        }
        Target::Process => format!("{} on real processes", seconds(run.wall_ns)),
    }
}

fn verified(run: &RunReport) -> String {
    match &run.verified {
        None if run.target == Target::Process => {
            "not replayed: real processes do not repeat a run".to_string()
        }
        None => "not replayed".to_string(),
        Some(replay) if replay.same => {
            format!("replayed in a fresh process: trace hash {} = {}", run.trace_hash, replay.trace_hash)
        }
        Some(replay) => {
            format!("DIVERGED in a fresh process: trace hash {} ≠ {}", run.trace_hash, replay.trace_hash)
        }
    }
}

/// The last faults that fired before the first finding.
fn faults(run: &RunReport, line: &mut impl FnMut(&str)) {
    let at = match (&run.crash, run.violations.first()) {
        (Some(crash), _) => crash.at_ns,
        (_, Some(violation)) => violation.at_ns,
        _ => u64::MAX,
    };
    let before: Vec<&FaultLine> =
        run.faults.iter().filter(|fault| fault.fired && fault.at_ns <= at).collect();
    if before.is_empty() {
        return;
    }
    line("");
    let left_out = before.len().saturating_sub(FAULTS_MAX);
    line(&match left_out {
        0 => " faults".to_string(),
        _ => format!(" faults (the last {FAULTS_MAX}; {left_out} before them)"),
    });
    for fault in &before[left_out..] {
        let length = fault.for_ns.map(|ns| format!("for {}", seconds(ns))).unwrap_or_default();
        let text = format!("{:<22} {:<20} {length}", fault.kind, fault.target);
        wrap_keeping_columns(&text, WIDTH - 15).iter().for_each(|text| {
            line(&format!("   {:>10}  {text}", seconds(fault.at_ns)));
        });
    }
}

/// One line, cut visibly.
fn wrap_keeping_columns(text: &str, width: usize) -> Option<String> {
    let text = text.trim_end();
    if text.chars().count() <= width {
        return Some(text.to_string());
    }
    Some(text.chars().take(width - 1).chain(['…']).collect())
}

fn field(name: &str, text: &str) -> String {
    format!(" {name:<10} {text}")
}

/// One line of JSON for machines.
fn machine_line(run: &RunReport, class: Class) -> String {
    let mut json = String::new();
    // Of a run that does not repeat, nothing but that is claimed.
    let claimed = class != Class::NonDeterminism;
    let violation = run.violations.first().filter(|_| claimed);
    let value = serde_json::json!({
        "schema": run.schema,
        "scenario": run.scenario,
        "seed": run.seed,
        "class": class,
        "anomaly": run.anomaly.as_ref().filter(|_| claimed),
        "checker": violation.map(|violation| &violation.checker),
        "partition": violation.and_then(|violation| violation.partition.as_deref()),
        "offset": violation.and_then(|violation| violation.offset),
        "at_ns": violation.map(|violation| violation.at_ns),
        "trace_hash": run.trace_hash,
        "exit_code": class.exit_code().code(),
        "reproduce": run.reproduce,
    });
    write!(json, "burnin-failure: {value}").expect("writing to a string");
    json
}
