//! The same seed once more, in a fresh process: the test program starts itself with this one test. What comes
//! back is compared; where two runs differ, this finds the first event that does.

use crate::drive::Attempt;
use crate::place::TestPlace;
use burnin_engine::{CHECKPOINT_EVENTS, Trace};
use std::process::{Command, Stdio};

/// The events of a trace to write down: the first, and the one behind the last.
pub(crate) type Window = (u64, u64);

/// Set in a fresh process: `whole`, or a window as `FROM..TO`.
const ASKED: &str = "BURNIN_CHILD";
const ANSWER: &str = "burnin-child: ";
const EVENT: &str = "burnin-child-event: ";
/// How many more runs may be spent on finding the event.
const TRIES: usize = 4;

/// What two runs of one seed are compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub trace: Trace,
    /// Class and words, on one line.
    pub outcome: String,
}

/// What a fresh process found.
pub(crate) struct Answer {
    pub fingerprint: Fingerprint,
    pub window: Vec<String>,
}

/// Where two runs of one seed part.
#[derive(Debug, Default)]
pub(crate) struct Parting {
    /// The first event that differs, when it was found.
    pub event: Option<u64>,
    /// The thousand events in which it lies.
    pub within: Option<Window>,
    /// What the runs have there.
    pub lines: Option<[String; 2]>,
}

/// Whether this process was started to run a seed once more, and which events it is asked for.
pub(crate) fn asked() -> Option<Option<Window>> {
    let text = std::env::var(ASKED).ok()?;
    Some(text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?))))
}

/// Tells whoever started this process.
pub(crate) fn answer(attempt: &Attempt) {
    for line in &attempt.window {
        println!("\n{EVENT}{line}");
    }
    println!("\n{ANSWER}{}", attempt.fingerprint().to_line());
}

/// Runs a seed in a fresh process. The error says why there is no answer.
pub(crate) fn run(place: &TestPlace, seed: u64, window: Option<Window>) -> Result<Answer, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("the test program does not find itself: {error}"))?;
    let asked = window.map_or_else(|| "whole".to_owned(), |(from, to)| format!("{from}..{to}"));
    let output = Command::new(&program)
        .arg(place.path())
        .args(["--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env("BURNIN_SEED", seed.to_string())
        .env(ASKED, asked)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} could not be started: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let after = |line: &str, mark: &str| Some(line[line.find(mark)? + mark.len()..].to_owned());
    let fingerprint = said.lines().find_map(|line| Fingerprint::from_line(&after(line, ANSWER)?));
    match fingerprint {
        Some(fingerprint) => {
            Ok(Answer { fingerprint, window: said.lines().filter_map(|line| after(line, EVENT)).collect() })
        }
        None => {
            let words = String::from_utf8_lossy(&output.stderr);
            let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
            Err(format!("the fresh process gave no answer ({}; it said last: {last})", output.status))
        }
    }
}

/// Finds where two differing runs part: by the checkpoints the thousand events, by running again and writing
/// those down the event itself. What does not repeat may not part in the same place twice; then the thousand
/// are all that is known.
pub(crate) fn locate(place: &TestPlace, seed: u64, one: &Fingerprint, two: &Fingerprint) -> Parting {
    let Some(thousand) = one.trace.first_difference(&two.trace) else { return Parting::default() };
    let first = thousand * CHECKPOINT_EVENTS + 1;
    let window = (first, first + CHECKPOINT_EVENTS);
    let mut runs: Vec<Vec<String>> = Vec::new();
    for _ in 0..TRIES {
        let Ok(Answer { window: run, .. }) = self::run(place, seed, Some(window)) else { break };
        if let Some((index, lines)) = runs.iter().find_map(|other| first_difference(other, &run)) {
            return Parting { event: Some(first + index as u64), within: Some(window), lines: Some(lines) };
        }
        runs.push(run);
    }
    Parting { event: None, within: Some(window), lines: None }
}

fn first_difference(one: &[String], two: &[String]) -> Option<(usize, [String; 2])> {
    let at = |run: &[String], index: usize| {
        run.get(index).cloned().unwrap_or_else(|| "the run is over".to_owned())
    };
    let index = (0..one.len().max(two.len())).find(|index| one.get(*index) != two.get(*index))?;
    Some((index, [at(one, index), at(two, index)]))
}

impl Fingerprint {
    fn to_line(&self) -> String {
        let Trace { hash, events, checkpoints } = &self.trace;
        let checkpoints: Vec<String> = checkpoints.iter().map(|hash| format!("{hash:x}")).collect();
        format!("{hash:x} {events} [{}] {}", checkpoints.join(","), self.outcome)
    }

    fn from_line(line: &str) -> Option<Fingerprint> {
        let hash = |text: &str| u64::from_str_radix(text, 16).ok();
        let mut parts = line.splitn(4, ' ');
        let (first, events, checkpoints) = (parts.next()?, parts.next()?, parts.next()?);
        let checkpoints = checkpoints.strip_prefix('[')?.strip_suffix(']')?;
        let checkpoints =
            checkpoints.split(',').filter(|text| !text.is_empty()).map(hash).collect::<Option<_>>()?;
        let trace = Trace { hash: hash(first)?, events: events.parse().ok()?, checkpoints };
        Some(Fingerprint { trace, outcome: parts.next()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_survives_the_way_between_processes() {
        for checkpoints in [Vec::new(), vec![0x1f, u64::MAX]] {
            let trace = Trace { hash: 0xabc, events: 2_400, checkpoints };
            let fingerprint = Fingerprint { trace, outcome: "\"safety lost-write, 3 of 4\"".to_owned() };
            assert_eq!(Fingerprint::from_line(&fingerprint.to_line()), Some(fingerprint));
        }
        assert_eq!(Fingerprint::from_line("test result: ok"), None);
    }

    #[test]
    fn run_that_is_over_differs_from_one_that_goes_on() {
        let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        assert!(first_difference(&lines("abc"), &lines("abc")).is_none());
        let (index, [one, two]) = first_difference(&lines("abc"), &lines("ab")).unwrap();
        assert_eq!((index, one.as_str(), two.as_str()), (2, "c", "the run is over"));
    }
}
