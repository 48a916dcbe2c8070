//! Reports as text for a terminal.

use crate::exit::{Class, ExitCode};
use crate::run::{Lacking, RunReport, Target};
use crate::sweep::{ScenarioTotals, SweepReport, Totals};
use crate::wrap::{WIDTH, wrap};

/// Whether text may carry ANSI colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Never: files, pipes, `NO_COLOR`.
    Plain,
    /// On a terminal.
    Ansi,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        match self {
            Paint::Plain => text.to_string(),
            Paint::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    /// Something failed.
    pub fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// Something passed.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Look here.
    pub fn strong(self, text: &str) -> String {
        self.with("1", text)
    }
}

/// `1 broker`, `3 brokers`.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A moment or a length in seconds with milliseconds: `41.207s`.
pub(crate) fn seconds(ns: u64) -> String {
    format!("{}.{:03}s", ns / 1_000_000_000, ns / 1_000_000 % 1_000)
}

/// A length in the unit that suits it: `850µs`, `41.2s`, `12m 30s`, `3h 05m`.
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{}µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{}ms", ns / 1_000_000),
        1_000_000_000..60_000_000_000 => format!("{}.{}s", ns / 1_000_000_000, ns / 100_000_000 % 10),
        60_000_000_000..3_600_000_000_000 => {
            format!("{}m {:02}s", ns / 60_000_000_000, ns / 1_000_000_000 % 60)
        }
        _ => format!("{}h {:02}m", ns / 3_600_000_000_000, ns / 60_000_000_000 % 60),
    }
}

/// `12345678` as `12.3 M`.
pub(crate) fn count(value: u64) -> String {
    match value {
        0..10_000 => value.to_string(),
        10_000..1_000_000 => format!("{}.{} k", value / 1_000, value / 100 % 10),
        1_000_000..1_000_000_000 => format!("{}.{} M", value / 1_000_000, value / 100_000 % 10),
        _ => format!("{}.{} G", value / 1_000_000_000, value / 100_000_000 % 10),
    }
}

fn per_second(amount: u64, ns: u64) -> String {
    match ns {
        0 => "-".to_string(),
        _ => count((u128::from(amount) * 1_000_000_000 / u128::from(ns)) as u64),
    }
}

fn ratio(ns: u64, to: u64) -> String {
    match to {
        0 => "-".to_string(),
        _ => format!("{}", ns / to),
    }
}

/// A run that passed, in a few lines. (One that did not has the failure block.)
pub fn run_summary(run: &RunReport, paint: Paint) -> String {
    let class = run.effective_class();
    let head = match class {
        Class::Pass => paint.good("passed"),
        Class::Skipped => paint.strong("skipped"),
        class => paint.bad(&format!("failed ({class})")),
    };
    let checked: Vec<String> =
        run.checked.iter().map(|(checker, checked)| format!("{checker} {}", count(*checked))).collect();
    let mut out = format!("{head}  {}  seed {}\n", run.scenario, run.seed);
    let mut field = |name: &str, text: &str| {
        for (index, line) in wrap(text, WIDTH - 12, 4).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            out.push_str(&format!("  {name:<9} {line}\n"));
        }
    };
    field("verdict", &run.verdict);
    field("checked", &checked.join(" · "));
    field("ran", &ran(run));
    field("faults", &format!("{} of {} fired", run.fired_count(), run.faults.len()));
    run.lacking.iter().for_each(|lacking| field("skipped", &lacks(run, lacking)));
    run.skipped.iter().for_each(|skipped| field("skipped", skipped));
    if run.target == Target::Sim {
        field("trace", &run.trace_hash);
    }
    out
}

/// What a run did, and what it took.
fn ran(run: &RunReport) -> String {
    let work = format!("{} requests · {} records", count(run.requests), count(run.records));
    match run.target {
        Target::Sim => format!(
            "{} simulated in {} ({} times real time) · {work} · {} steps",
            duration(run.sim_ns),
            duration(run.wall_ns),
            ratio(run.sim_ns, run.wall_ns),
            count(run.events)
        ),
        Target::Process => format!("{} on real processes · {work}", duration(run.wall_ns)),
    }
}

/// What was left out because the target cannot do it.
pub(crate) fn lacks(run: &RunReport, lacking: &Lacking) -> String {
    format!("target {} lacks `{}`: {}", run.target.name(), lacking.capability, lacking.skipped.join(", "))
}

/// A sweep: each scenario on a line, then each distinct failure, then what it cost.
pub fn sweep_summary(sweep: &SweepReport, paint: Paint) -> String {
    let mut out = String::new();
    let width = sweep.scenarios.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(8);
    for (name, scenario) in &sweep.scenarios {
        if sweep.interrupted && scenario.totals.runs == 0 {
            out.push_str(&format!("{} {name:<width$}  not begun\n", paint.strong("none")));
            continue;
        }
        let (good, text) = scenario_line(scenario, sweep.interrupted);
        let mark = match good {
            _ if scenario.is_skipped() => paint.strong("skip"),
            true => paint.good("ok  "),
            false => paint.bad("FAIL"),
        };
        out.push_str(&format!("{mark} {name:<width$}  {text}\n"));
    }
    if !sweep.failures.is_empty() {
        out.push_str(&format!("\n{}\n", plural(sweep.failures.len() as u64, "distinct failure")));
    }
    for failure in &sweep.failures {
        let by = if failure.checker.is_empty() { String::new() } else { format!(" ({})", failure.checker) };
        let runs = plural(failure.runs, "run");
        let head = wrap(&format!("{}: {}{by}", failure.class, failure.anomaly), WIDTH - 14, 1).join("");
        out.push_str(&format!("  {} in {runs}\n", paint.bad(&head)));
        for line in wrap(&failure.message, WIDTH - 4, 3) {
            out.push_str(&format!("    {line}\n"));
        }
        let seeds: Vec<String> =
            failure.seeds.iter().map(|of| format!("{}@{}", of.scenario, of.seed)).collect();
        for line in wrap(&format!("seeds {}", seeds.join(" ")), WIDTH - 4, 2) {
            out.push_str(&format!("    {line}\n"));
        }
        out.push_str(&format!("    {}\n", paint.strong(&format!("reproduce {}", failure.reproduce))));
    }
    out.push('\n');
    out.push_str(&cost(&sweep.totals(), sweep.wall_ns));
    let code = sweep.exit_code();
    let text = format!("{} (exit code {})", code.meaning(), code.code());
    out.push_str(&if code == ExitCode::Pass { paint.good(&text) } else { paint.bad(&text) });
    out.push('\n');
    out
}

/// Whether all is well, and the line. What an `interrupted` sweep did not come to yet is no failure.
fn scenario_line(scenario: &ScenarioTotals, interrupted: bool) -> (bool, String) {
    let runs = plural(scenario.totals.runs, "run");
    if scenario.is_skipped() {
        return (true, format!("{runs}, all skipped: {}", lacks_what(scenario)));
    }
    let classes: Vec<String> = scenario
        .classes
        .iter()
        .filter(|(class, _)| *class != Class::Pass.name())
        .map(|(class, count)| format!("{count} {class}"))
        .collect();
    let mut parts = vec![runs];
    let mut good = true;
    match &scenario.expectation {
        None => {
            good &=
                scenario.of_class(Class::Pass) + scenario.of_class(Class::Skipped) == scenario.totals.runs;
            parts.extend(classes);
        }
        Some(expectation) => {
            let mut what = expectation.anomaly.clone().unwrap_or_else(|| "a violation".to_string());
            if let Some(checker) = &expectation.checker {
                what = format!("{what} ({checker})");
            }
            good &= expectation.found > 0 || interrupted;
            parts.push(match expectation.first_seed {
                Some(seed) => format!("{what} found in {}, first by seed {seed}", expectation.found),
                None if interrupted => format!("{what} not found yet"),
                None => format!("{what} NOT found within {} seeds", expectation.within_seeds),
            });
        }
    }
    if !scenario.lacking.is_empty() {
        parts.push(lacks_what(scenario));
    }
    for (event, count, least) in scenario.missed().filter(|_| !interrupted) {
        good = false;
        parts.push(format!("{event} happened {count} times, must {least}"));
    }
    (good, parts.join(" · "))
}

fn lacks_what(scenario: &ScenarioTotals) -> String {
    let names: Vec<String> = scenario.lacking.keys().map(|name| format!("`{name}`")).collect();
    format!("the target lacks {}", names.join(", "))
}

fn cost(totals: &Totals, wall_ns: u64) -> String {
    let runs = format!("{} in {}", plural(totals.runs, "run"), duration(wall_ns));
    let done = format!(
        "{} faults fired · {} records acknowledged · {} facts checked",
        count(totals.faults),
        count(totals.records),
        count(totals.checked)
    );
    if totals.sim_ns == 0 {
        // Nothing was simulated.
        return format!("{runs}\n{done} · {} requests\n", count(totals.requests));
    }
    format!(
        "{runs} ({} runs/s) · {} simulated · {} sim-s/CPU-s · {} requests/CPU-s\n{done} · {} steps\n",
        per_second(totals.runs, wall_ns),
        duration(totals.sim_ns),
        ratio(totals.sim_ns, totals.cpu_ns),
        per_second(totals.requests, totals.cpu_ns),
        count(totals.events),
    )
}
