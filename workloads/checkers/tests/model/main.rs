//! A model of a broker writes random lawful histories: the checkers stay silent. One corruption in such a history:
//! they do not.

mod corrupt;
mod model;
mod topics;

use burnin_checkers::{CheckSet, Verdict};
use burnin_history::Flush;
use model::{History, Rng, simulate};
use proptest::prelude::*;

fn judge(history: &History) -> Verdict {
    let mut set = CheckSet::new(model::RUN);
    history.feed(&mut set);
    set.finish(history.end())
}

fn flush(page_cache: bool) -> Flush {
    if page_cache { Flush::PageCache } else { Flush::BeforeAck }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lawful_history_passes(seed: u64, page_cache: bool, steps in 200usize..2_000) {
        let history = simulate(seed, flush(page_cache), steps);
        let verdict = judge(&history);
        prop_assert!(verdict.found_count() == 0 && verdict.vacuous.is_none(), "{verdict:#?}\n{history}");
    }

    #[test]
    fn corrupted_history_fails(seed: u64, page_cache: bool, steps in 200usize..2_000, kind in 0..corrupt::KINDS.len()) {
        let mut history = simulate(seed, flush(page_cache), steps);
        let (name, corruption, checkers) = corrupt::KINDS[kind];
        let Some(what) = corruption(&mut history, &mut Rng::new(seed ^ 0xbad)) else {
            // Nothing there to corrupt in this way.
            return Ok(());
        };
        let verdict = judge(&history);
        let by = |checker: &&str| verdict.violations.iter().any(|violation| violation.checker == *checker);
        prop_assert!(checkers.iter().any(by), "{name} was not found by any of {checkers:?}: {what}\n{verdict:#?}\n{history}");
    }
}

#[test]
fn lawful_topics_pass_and_corrupted_ones_do_not() {
    let mut corrupted = [0; topics::KINDS.len()];
    for seed in 0..600 {
        let history = topics::simulate(seed, 40 + seed as usize % 200);
        let verdict = history.judge();
        assert_eq!(verdict.found_count(), 0, "seed {seed}: {verdict:#?}\n{history:#?}");
        for ((name, corruption), count) in topics::KINDS.iter().zip(&mut corrupted) {
            let mut history = history.clone();
            if corruption(&mut history, &mut Rng::new(seed ^ 0xbad)).is_none() {
                continue;
            }
            *count += 1;
            let verdict = history.judge();
            let found = verdict.violations.iter().any(|violation| violation.checker == "B14");
            assert!(found, "seed {seed}: {name} was not found\n{history:#?}");
        }
    }
    assert!(corrupted.iter().all(|count| *count >= 20), "too few histories were corrupted: {corrupted:?}");
}

/// The property above lets a corruption pass that finds nothing to corrupt: each must find something nearly always.
#[test]
fn each_corruption_is_exercised() {
    for (name, corruption, _) in corrupt::KINDS {
        let done = (0..50)
            .filter(|seed| {
                let mut history = simulate(*seed, flush(seed % 2 == 0), 1_000);
                corruption(&mut history, &mut Rng::new(*seed)).is_some()
            })
            .count();
        assert!(done >= 25, "{name} found something to corrupt in {done} of 50 histories");
    }
}
