//! What `burnin zoo` found out, as a table and as the page `docs/zoo.md`.

use super::{Budget, Specimen};
use crate::select::Selected;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Those that were found, the easiest first; then the others.
pub(super) fn table(specimens: &[Specimen]) -> String {
    let mut sorted: Vec<&Specimen> = specimens.iter().collect();
    sorted.sort_by(|a, b| b.rate().total_cmp(&a.rate()).then(a.seeds.cmp(&b.seeds)).then(a.id.cmp(b.id)));
    let mut text = String::from(
        "| bug | area | what it does | found by | after | in | how often | 95 % | reached |\n\
         |---|---|---|---|--:|--:|---|---|--:|\n",
    );
    for one in sorted {
        let by = one.checker.as_deref().unwrap_or("**nobody**");
        let _ = writeln!(
            text,
            "| {} | {} | {} | {by} | {} | {:.1} s | `{}` {} of {} | {} to {} % | {:.0} % |",
            one.id,
            one.area,
            one.summary,
            runs(one.seeds),
            one.cpu_seconds,
            bar(one.rate()),
            one.found,
            one.runs,
            percent(one.rate_low),
            percent(one.rate_high),
            one.reached as f64 * 100.0 / one.runs.max(1) as f64,
        );
    }
    text
}

fn runs(count: u64) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

/// Ten cells; whatever is more than nothing shows.
fn bar(rate: f64) -> String {
    let full = (rate * 10.0).round() as usize;
    match full {
        0 if rate > 0.0 => format!("▏{}", "·".repeat(9)),
        _ => "█".repeat(full) + &"·".repeat(10 - full),
    }
}

fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    if percent > 0.0 && percent < 10.0 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

/// `docs/zoo.md`.
pub(super) fn page(specimens: &[Specimen], selected: &[Selected], budget: Budget) -> String {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for one in selected {
        *folders.entry(one.path.parent().unwrap_or(&one.path).display().to_string()).or_default() += 1;
    }
    let folders: Vec<String> =
        folders.iter().map(|(folder, count)| format!("{count} of `{folder}`")).collect();
    let mut areas: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for one in specimens {
        let (found, all) = areas.entry(one.area).or_default();
        (*found, *all) = (*found + usize::from(one.detected), *all + 1);
    }
    let areas: Vec<String> =
        areas.iter().map(|(area, (found, all))| format!("{area} {found} of {all}")).collect();
    let found = specimens.iter().filter(|specimen| specimen.detected).count();
    let example = specimens.iter().find_map(|one| Some((one.id, one.first.as_deref()?.split_once('@')?)));
    let repeat = example.map_or(String::new(), |(id, (scenario, seed))| {
        let path = selected.iter().find(|one| one.scenario.name == scenario).map(|one| one.path.display());
        let path = path.map_or(scenario.to_owned(), |path| path.to_string());
        format!(
            "\nOne of these runs, here the first that found {id} (`first` in the JSON):\n\n```\ncargo burnin run {path} \
             --seed {seed} --set expect.near_miss=true --set expect.mutant={id}\n```\n"
        )
    });
    format!(
        "# Bug zoo\n\nHow well do sweeps find bugs that nobody is looking for? Bugs like those that brokers have had \
         are planted, one at a time, and the general scenarios ({}), none of which was written for any of them, are run \
         until one fails: up to {} runs for each bug, and at least {} to see how often.\n\n**{found} of {} are found**: {}.\n\n```\ncargo burnin zoo --all                        \
         # all of them\ncargo burnin zoo Q03                         # one\ncargo burnin zoo --all --format json          \
         # one object for each\ncargo burnin zoo --all --table docs/zoo.md    # this page, which is not edited by hand\n\
         ```\n\n## How to read it\n\nThe bugs that are found most often come first.\n\n{LEGEND}{repeat}\n## Every \
         bug\n\n{}",
        folders.join(", "),
        budget.seeds,
        budget.more.min(budget.seeds),
        specimens.len(),
        areas.join(", "),
        table(specimens)
    )
}

const LEGEND: &str = "\
| column | meaning |
|---|---|
| found by | the [checker](checkers.md) that spoke first; `assert`: the broker noticed by itself and stopped |
| after, in | how many runs it took to find it the first time, and how much CPU time |
| how often | the part of all runs that found it, in some more runs after the first |
| 95 % | the rate lies between these with 95 % confidence (Clopper and Pearson) |
| reached | in how many runs the line with the bug was executed at all: a bug that is reached often and found seldom needs \
rare circumstances; one that is reached seldom, rare settings or faults |

A bug of the log is armed in all scenarios, any other in clusters only. A scenario in which the line was not reached at
first takes part in one round of eight from then on, one with hundreds of partitions seldom (`cli/src/verbs/zoo.rs`): the
rates are those of this mixture.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_whatever_is_more_than_nothing() {
        assert_eq!(bar(0.0), "··········");
        assert_eq!(bar(0.003), "▏·········");
        assert_eq!(bar(0.26), "███·······");
        assert_eq!(bar(1.0), "██████████");
    }
}
