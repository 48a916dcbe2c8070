//! Seed after seed, each on a fresh thread; and what is done with a failure: it is run again in a fresh process
//! before anybody hears of it, and told in one block whose last command repeats it.

use crate::child::{self, Fingerprint, Parting, Window};
use crate::place::TestPlace;
use crate::seeds::Chosen;
use burnin_engine::Trace;
use burnin_report::{Class, Paint, Replay, RunReport, failure_block};
use std::panic::resume_unwind;
use std::thread;

/// How much stack a run gets.
const STACK_BYTES: usize = 16 << 20;

/// One seed, run once.
pub(crate) struct Attempt {
    pub report: RunReport,
    pub trace: Trace,
    /// The events that were asked for.
    pub window: Vec<String>,
    /// Why the test does not accept it.
    pub failed: Option<String>,
}

impl Attempt {
    pub fn fingerprint(&self) -> Fingerprint {
        let RunReport { class, anomaly, verdict, .. } = &self.report;
        let anomaly = anomaly.as_deref().unwrap_or("-");
        Fingerprint {
            trace: self.trace.clone(),
            outcome: format!("{:?}", format!("{class} {anomaly} {verdict}")),
        }
    }
}

/// Runs one seed.
pub(crate) type Try<'a> = &'a (dyn Fn(u64, Option<Window>) -> Attempt + Sync);

/// Whether a test is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driven {
    /// All seeds were run, and there is a whole to judge.
    Whole,
    /// This process only ran a seed once more, for another to judge.
    Answered,
}

/// Runs the seeds until one fails (then this panics) or `enough` says so of a report.
#[track_caller]
pub(crate) fn drive(
    place: &TestPlace,
    chosen: &Chosen,
    check_determinism: bool,
    attempt: Try<'_>,
    enough: &mut dyn FnMut(&RunReport) -> bool,
) -> Driven {
    if let Some(window) = child::asked() {
        let seed = chosen.seeds.get(0).0;
        child::answer(&in_fresh_thread(seed, window, attempt));
        return Driven::Answered;
    }
    println!("burnin: seeds={} test={}", chosen.seeds, place.path());
    for seed in chosen.seeds.iter() {
        let mut tried = in_fresh_thread(seed.0, None, attempt);
        let mut parting = None;
        if tried.failed.is_some() || check_determinism {
            parting = verify(place, seed.0, &mut tried, check_determinism);
        }
        let enough = enough(&tried.report);
        if tried.failed.is_some() || tried.report.effective_class() == Class::NonDeterminism {
            let block = failure_text(place, seed.0, tried, parting);
            panic!("{block}");
        }
        if enough {
            break;
        }
    }
    Driven::Whole
}

/// Each seed has a thread of its own, so that nothing of a thread outlives a run. Its name is the seed.
fn in_fresh_thread(seed: u64, window: Option<Window>, attempt: Try<'_>) -> Attempt {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name(format!("seed {seed}")).stack_size(STACK_BYTES);
        let run = builder.spawn_scoped(scope, || attempt(seed, window)).expect("a thread for a run");
        run.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Runs the seed once more in a fresh process and notes in the report what came of it.
fn verify(place: &TestPlace, seed: u64, tried: &mut Attempt, must: bool) -> Option<Parting> {
    let first = tried.fingerprint();
    match child::run(place, seed, None) {
        Ok(second) => {
            let same = first == second.fingerprint;
            let parting = (!same).then(|| child::locate(place, seed, &first, &second.fingerprint));
            tried.report.verified = Some(Replay {
                trace_hash: format!("{:016x}", second.fingerprint.trace.hash),
                same,
                diverged_at_event: parting.as_ref().and_then(|parting| parting.event),
            });
            parting
        }
        Err(why) => {
            if must && tried.failed.is_none() {
                tried.report.class = Class::Internal;
                tried.report.verdict = format!("determinism could not be checked: {why}");
                tried.failed = Some(why.clone());
            }
            tried.report.skipped.insert(0, why);
            None
        }
    }
}

fn failure_text(place: &TestPlace, seed: u64, tried: Attempt, parting: Option<Parting>) -> String {
    let Attempt { mut report, failed, .. } = tried;
    report.reproduce = place.command(Some(seed));
    // The run itself is fine, and still the test does not accept it.
    if let Some(why) = failed.filter(|_| report.class == Class::Pass) {
        report.class = Class::Safety;
        report.anomaly = Some("test-failed".to_owned());
        report.verdict = why;
    }
    let mut text = format!("seed {seed} failed\n");
    for (number, line) in parting.iter().flat_map(|parting| parting.lines.iter().flatten()).enumerate() {
        text.push_str(&format!("run {}: {line}\n", number + 1));
    }
    if let Some(Parting { event: None, within: Some((from, to)), .. }) = parting {
        text.push_str(&format!("the runs part between events {from} and {}\n", to - 1));
    }
    text.push_str(&failure_block(&report, Paint::Plain));
    text
}
