//! `burnin replay`: a recorded run, a plan, or SCENARIO@SEED once more.

use crate::args::ReplayArgs;
use crate::exec::Job;
use crate::output::{Output, Stop};
use crate::place::Chosen;
use crate::select;
use crate::verbs::run::run_and_report;
use crate::verbs::{banner, reproduce};
use burnin_report::{Class, ExitCode, RunReport, Target};
use burnin_scenario::{Plan, Seed};
use std::path::{Path, PathBuf};

/// What is to be run again.
struct Source {
    plan: Plan,
    reproduce: String,
    /// What came out the last time.
    recorded: Option<RunReport>,
}

/// See the module.
pub fn replay(args: &ReplayArgs, output: &Output) -> Result<ExitCode, Stop> {
    let source = find(args, output)?;
    if let Some(path) = &args.scenario {
        let scenario = select::load(path, &args.overrides.pairs(), output)?;
        source
            .plan
            .belongs_to(&scenario)
            .map_err(|error| Stop::usage(format!("`{}`: {error}", args.what)))?;
    }
    output.insist(banner(&source.plan.seed.to_string(), &source.plan.scenario));
    let job = Job { armed: !args.unarmed, ..Job::new(source.plan) };
    let report = run_and_report(job, &Chosen::Sim, source.reproduce, &args.limits, output)?;
    match source.recorded {
        None => Ok(report.exit_code()),
        Some(recorded) => Ok(compare(&recorded, &report, output)),
    }
}

fn find(args: &ReplayArgs, output: &Output) -> Result<Source, Stop> {
    let path = Path::new(&args.what);
    if path.is_dir() {
        return from_directory(path, args, output);
    }
    if path.is_file() {
        return from_file(path, path.parent().unwrap_or(Path::new("")), args, output);
    }
    if let Some((file, seed)) = args.what.rsplit_once('@') {
        let seed: Seed = seed.parse().map_err(|error| Stop::usage(format!("`{}`: {error}", args.what)))?;
        let path = PathBuf::from(file);
        let overrides = args.overrides.pairs();
        let scenario = select::load(&path, &overrides, output)?;
        let reproduce = reproduce(&path, seed, &overrides, !args.unarmed, &Chosen::Sim);
        return Ok(Source { plan: scenario.resolve(seed), reproduce, recorded: None });
    }
    Err(Stop::usage(format!(
        "there is no `{}` to replay (give a run directory, a resolved.toml, or SCENARIO@SEED)",
        args.what
    )))
}

fn from_directory(path: &Path, args: &ReplayArgs, output: &Output) -> Result<Source, Stop> {
    let plan = path.join("resolved.toml");
    if !plan.is_file() {
        return Err(Stop::usage(format!(
            "{} is not a run directory: it has no resolved.toml",
            path.display()
        )));
    }
    from_file(&plan, path, args, output)
}

fn from_file(file: &Path, directory: &Path, args: &ReplayArgs, output: &Output) -> Result<Source, Stop> {
    if !args.overrides.set.is_empty() {
        return Err(Stop::usage("a plan is explicit: edit it instead of giving --set"));
    }
    if is_scenario(file) {
        let name = file.display();
        return Err(Stop::usage(format!(
            "{name} is a scenario, not a plan: give a seed as well, as in {name}@7"
        )));
    }
    let plan = Plan::load(file).map_err(|problems| select::refused(&problems, output))?;
    let recorded = match std::fs::read_to_string(directory.join("result.json")) {
        Ok(text) => {
            let place = directory.join("result.json");
            let read = RunReport::from_json(&text);
            Some(read.map_err(|error| Stop::usage(format!("{}: {error}", place.display())))?)
        }
        Err(_) => None,
    };
    // What real processes did, the simulator cannot be compared with.
    let recorded = recorded.filter(|recorded| recorded.target == Target::Sim);
    Ok(Source { plan, reproduce: format!("burnin replay {}", file.display()), recorded })
}

/// Scenarios begin with `schema`, plans with `plan`.
fn is_scenario(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| line.trim_start().starts_with("schema"))
}

/// Says whether it happened again.
fn compare(recorded: &RunReport, report: &RunReport, output: &Output) -> ExitCode {
    let same_build = recorded.build == report.build;
    let same_trace = recorded.trace_hash == report.trace_hash;
    let same_verdict = recorded.class == report.class && recorded.anomaly == report.anomaly;
    let traces = format!("trace hash {}, recorded {}", report.trace_hash, recorded.trace_hash);
    if same_build && !same_trace && report.effective_class() != Class::NonDeterminism {
        // The build is known by its commit; two builds of a changed tree can have the same.
        output.insist(format!("replay: NOT the same run, although the build is the same: {traces}"));
        return if same_verdict { ExitCode::NonDeterminism } else { ExitCode::NotReproduced };
    }
    if !same_verdict {
        let was = recorded.anomaly.as_deref().unwrap_or(recorded.class.name());
        let is = report.anomaly.as_deref().unwrap_or(report.class.name());
        output.insist(format!("replay: not reproduced: recorded {was}, now {is} ({traces})"));
        return ExitCode::NotReproduced;
    }
    let how = if same_trace { "the same trace" } else { "another trace, as another build may" };
    output.say(format!("replay: reproduced with {how} ({traces})"));
    report.exit_code()
}
