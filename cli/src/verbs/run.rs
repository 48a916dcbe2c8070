//! `burnin run`: one scenario, one seed.

use crate::args::{Limits, RunArgs, SeedChoice};
use crate::audit;
use crate::exec::Job;
use crate::interrupt::{Interrupts, runtime};
use crate::output::{Output, Stop};
use crate::place::Chosen;
use crate::pool::run_fresh;
use crate::run_dir::RunDir;
use crate::select;
use crate::verbs::{banner, reproduce, schedule_lines};
use burnin_report::{Class, ExitCode, RunReport, Target, failure_block, run_summary};
use burnin_scenario::Seed;
use std::hash::{BuildHasher, RandomState};

/// See the module.
pub fn run(args: &RunArgs, output: &Output) -> Result<ExitCode, Stop> {
    let chosen = Chosen::of(&args.target)?;
    let overrides = args.overrides.pairs();
    let scenario = select::load(&args.scenario, &overrides, output)?;
    let seed = match args.seed {
        SeedChoice::Given(seed) => seed,
        SeedChoice::Random => random_seed(),
    };
    output.insist(banner(&seed.to_string(), &scenario.name));
    let job = Job { armed: !args.unarmed, ..Job::new(scenario.resolve(seed)) };
    let reproduce = reproduce(&args.scenario, seed, &overrides, job.armed, &chosen);
    let report = run_and_report(job, &chosen, reproduce, &args.limits, output)?;
    Ok(report.exit_code())
}

/// 32 random bits: short enough to be read out, enough to be new.
fn random_seed() -> Seed {
    Seed(RandomState::new().hash_one(std::process::id()) >> 32)
}

/// Runs a job in a process of its own, verifies a failure where that can be done, writes the run directory, and
/// prints what came out. What real processes wrote is kept when they failed.
pub fn run_and_report(
    job: Job,
    chosen: &Chosen,
    reproduce: String,
    limits: &Limits,
    output: &Output,
) -> Result<RunReport, Stop> {
    if output.verbose > 0 {
        schedule_lines(&job.plan).iter().for_each(|line| output.say(line));
    }
    let directory = RunDir::create(&limits.report, &job.plan)?;
    let (place, mut work) = chosen.place(&limits.report)?;
    let job = Job { log: Some(directory.log()), place, ..job };
    let mut report = runtime()?.block_on(async {
        let mut interrupts = Interrupts::new()?;
        let work = async {
            let outcome = run_fresh(&job, limits.run.limit).await?;
            let mut report = outcome.report.clone();
            if report.class != Class::Pass && report.target == Target::Sim {
                let again = Job { log: None, ..job.clone() };
                report.verified = Some(audit::verify(&again, &outcome, limits.run.limit).await?);
            }
            Ok(report)
        };
        interrupts.or(work).await
    })?;
    if !report.class.is_fine()
        && let Some(work) = work.take()
    {
        work.keep_in(directory.path());
    }
    report.reproduce = reproduce;
    report.directory = Some(directory.path().display().to_string());
    directory.finish(&report)?;
    show(&report, output);
    Ok(report)
}

/// Prints a report: the failure block on standard error, the rest on standard output.
pub fn show(report: &RunReport, output: &Output) {
    output.document(report);
    if report.effective_class().is_fine() {
        output.result(run_summary(report, output.paint()).trim_end());
    } else {
        output.insist(failure_block(report, output.paint()).trim_end());
    }
}
