//! Trust, but run it again: a plan that is run twice must give the same trace. Where it does not, this finds
//! the first event that differs.

use crate::exec::{CHECKPOINT_EVENTS, Job, Outcome};
use crate::output::Stop;
use crate::pool::run_fresh;
use burnin_report::Replay;
use burnin_scenario::Dur;

/// How many more runs may be spent on finding the event.
const TRIES: usize = 4;

/// Two runs of one plan that differ.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The first event that differs, when it was found.
    pub event: Option<u64>,
    /// The thousand events in which it lies, when at least that is known: the first, and the one behind.
    pub within: Option<(u64, u64)>,
    /// What the runs have there.
    pub lines: Option<[String; 2]>,
}

/// Whether two runs of one plan are one: the same trace, and the same verdict.
pub fn same(one: &Outcome, two: &Outcome) -> bool {
    let (one, two) = (&one.report, &two.report);
    one.trace_hash == two.trace_hash
        && one.events == two.events
        && one.class == two.class
        && one.anomaly == two.anomaly
        && one.violations == two.violations
}

/// Runs the job once more in a fresh process and compares.
pub async fn verify(job: &Job, first: &Outcome, run_limit: Dur) -> Result<Replay, Stop> {
    let second = run_fresh(job, run_limit).await?;
    let same = same(first, &second);
    let divergence = if same { None } else { Some(locate(job, first, &second, run_limit).await?) };
    Ok(Replay {
        trace_hash: second.report.trace_hash,
        same,
        diverged_at_event: divergence.and_then(|divergence| divergence.event),
    })
}

/// Finds where two differing runs part: by the checkpoints the thousand events, by running again and writing
/// those down the event itself. What does not repeat may not part in the same place twice; then the thousand
/// are all that is known.
pub async fn locate(job: &Job, one: &Outcome, two: &Outcome, run_limit: Dur) -> Result<Divergence, Stop> {
    let Some(window) = differing_thousand(one, two) else {
        return Ok(Divergence { event: None, within: None, lines: None });
    };
    let job = Job { window: Some(window), log: None, ..job.clone() };
    let mut runs: Vec<Vec<String>> = Vec::new();
    for _ in 0..TRIES {
        let run = run_fresh(&job, run_limit).await?.window;
        if let Some(found) = runs.iter().find_map(|other| first_difference(other, &run)) {
            let (index, lines) = found;
            return Ok(Divergence {
                event: Some(window.0 + index as u64),
                within: Some(window),
                lines: Some(lines),
            });
        }
        runs.push(run);
    }
    Ok(Divergence { event: None, within: Some(window), lines: None })
}

/// The events of the first thousand that differs, counted from 1.
fn differing_thousand(one: &Outcome, two: &Outcome) -> Option<(u64, u64)> {
    let (a, b) = (&one.checkpoints, &two.checkpoints);
    let agreeing = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let ends_alike =
        one.report.trace_hash == two.report.trace_hash && a.len() == b.len() && agreeing == a.len();
    let first = agreeing as u64 * CHECKPOINT_EVENTS + 1;
    (!ends_alike && one.report.events > 0 && two.report.events > 0)
        .then_some((first, first + CHECKPOINT_EVENTS))
}

fn first_difference(one: &[String], two: &[String]) -> Option<(usize, [String; 2])> {
    let longer = one.len().max(two.len());
    let at = |run: &[String], index: usize| {
        run.get(index).cloned().unwrap_or_else(|| "the run is over".to_owned())
    };
    (0..longer)
        .find(|index| one.get(*index) != two.get(*index))
        .map(|index| (index, [at(one, index), at(two, index)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(trace_hash: &str, checkpoints: &[u64]) -> Outcome {
        let plan = crate::verbs::tests::plan();
        let mut report = Job::new(plan).report(burnin_report::Class::Pass, "", String::new());
        report.trace_hash = trace_hash.to_owned();
        report.events = 2500;
        Outcome { report, checkpoints: checkpoints.to_vec(), window: Vec::new() }
    }

    #[test]
    fn the_differing_thousand_is_the_one_after_the_last_common_checkpoint() {
        let base = outcome("a", &[1, 2]);
        assert_eq!(differing_thousand(&base, &outcome("a", &[1, 2])), None);
        assert_eq!(differing_thousand(&base, &outcome("b", &[1, 2])), Some((2001, 3001)));
        assert_eq!(differing_thousand(&base, &outcome("b", &[1, 3])), Some((1001, 2001)));
        assert_eq!(differing_thousand(&base, &outcome("b", &[9, 2])), Some((1, 1001)));
    }

    #[test]
    fn a_run_that_ends_early_differs_where_it_ends() {
        let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        assert_eq!(first_difference(&lines("abc"), &lines("abc")), None);
        let (index, lines) = first_difference(&lines("abc"), &lines("ab")).unwrap();
        assert_eq!((index, lines[1].as_str()), (2, "the run is over"));
    }
}
