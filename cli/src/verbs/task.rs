//! One run with everything that belongs to it: a failure is run again in a fresh process before anybody
//! hears of it, and gets a run directory; a planted bug that was found must vanish when it is not planted; a
//! share of the runs that passed is run again as well.

use crate::audit;
use crate::exec::{Job, Outcome, Place};
use crate::output::Stop;
use crate::place::Chosen;
use crate::pool::{Worker, run_fresh};
use crate::run_dir::RunDir;
use crate::work_dir::{LOG, WorkDir};
use burnin_report::{Class, Expectation, RunReport};
use burnin_scenario::Dur;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// See the module.
#[derive(Clone, Debug)]
pub struct Task {
    /// What to run.
    pub job: Job,
    /// Where to run it.
    pub chosen: Chosen,
    /// The command that repeats it.
    pub reproduce: String,
    /// What the planted bug must cause, if there is one.
    pub expectation: Option<Expectation>,
    /// Whether it is run again although it passed.
    pub audit: bool,
    /// How long one run may take.
    pub run_limit: Dur,
    /// Where run directories go.
    pub report: PathBuf,
    /// How many more run directories may be made.
    pub directories: Arc<AtomicUsize>,
}

/// What came out of a task.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The report, verified when it is a failure.
    pub report: RunReport,
    /// The report of the same plan without its planted bug, when the bug was found.
    pub twin: Option<RunReport>,
}

/// The name in reports of a scenario that was run without the bug that it plants.
pub fn unarmed_name(scenario: &str) -> String {
    format!("{scenario} without its bug")
}

impl Task {
    /// Does it all.
    pub async fn run(&self, worker: &mut Worker) -> Result<Finished, Stop> {
        let (place, work) = self.chosen.place(&self.report)?;
        if let Some(work) = work {
            return self.on_processes(worker, place, work).await;
        }
        let outcome = worker.run(&self.job).await?;
        let met = self.expectation.as_ref().is_some_and(|expectation| expectation.meets(&outcome.report));
        let planted = self.job.plan.expect.as_ref().is_some_and(|expect| expect.mutant.is_some());
        let twin = if met && planted { Some(self.without_bug().await?) } else { None };
        let report = self.report_on(&self.job, outcome, self.audit || met, &self.reproduce).await?;
        Ok(Finished { report, twin })
    }

    /// Real processes cannot be asked for the same run again; what they wrote is kept instead when they failed.
    async fn on_processes(&self, worker: &mut Worker, place: Place, work: WorkDir) -> Result<Finished, Stop> {
        let log = Some(work.path().join(LOG));
        let mut report = worker.run(&Job { place, log, ..self.job.clone() }).await?.report;
        report.reproduce = self.reproduce.clone();
        if !report.class.is_fine() && self.expectation.is_none() && self.may_make_directory() {
            let directory = RunDir::create(&self.report, &self.job.plan)?;
            work.keep_in(directory.path());
            report.directory = Some(directory.path().display().to_string());
            directory.finish(&report)?;
        }
        Ok(Finished { report, twin: None })
    }

    /// The same plan without the bug: what the bug caused must not happen.
    async fn without_bug(&self) -> Result<RunReport, Stop> {
        let job = Job { armed: false, ..self.job.clone() };
        let outcome = run_fresh(&job, self.run_limit).await?;
        let reproduce = format!("{} --unarmed", self.reproduce);
        let mut report = self.report_on(&job, outcome, false, &reproduce).await?;
        report.scenario = unarmed_name(&report.scenario);
        Ok(report)
    }

    /// Completes a report: verified when it failed or when asked, with a run directory when it failed.
    async fn report_on(
        &self,
        job: &Job,
        outcome: Outcome,
        audit: bool,
        reproduce: &str,
    ) -> Result<RunReport, Stop> {
        let failed = outcome.report.class != Class::Pass;
        let expected = self.expectation.is_some() && job.armed;
        let directory = if failed && !expected && self.may_make_directory() {
            Some(RunDir::create(&self.report, &job.plan)?)
        } else {
            None
        };
        let mut replay = None;
        if (failed && !expected) || audit {
            let job = Job { log: directory.as_ref().map(RunDir::log), ..job.clone() };
            replay = Some(audit::verify(&job, &outcome, self.run_limit).await?);
        }
        let mut report = outcome.report;
        report.verified = replay.filter(|replay| failed || !replay.same);
        report.reproduce = reproduce.to_owned();
        if let Some(directory) = directory {
            report.directory = Some(directory.path().display().to_string());
            directory.finish(&report)?;
        }
        Ok(report)
    }

    fn may_make_directory(&self) -> bool {
        self.directories
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }
}
