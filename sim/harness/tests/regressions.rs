//! Bugs that were found stay fixed: every file of `scenarios/regressions` is run on a few seeds, and on those that
//! its header names, if it has a line like `# Seeds: 17, 4144137618`.

use burnin_cluster::RunOptions;
use burnin_report::{Class, Paint, failure_block};
use burnin_scenario::{Scenario, Seed};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/regressions")
}

/// The first so many seeds are run of every file.
const SEEDS: u64 = 4;

/// The files, sorted.
fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("a folder of regressions");
    let paths = entries.map(|entry| entry.expect("a folder that can be read").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    files.sort();
    files
}

/// The seeds of the header.
fn named_seeds(text: &str) -> Result<Vec<Seed>, String> {
    let header = text.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty());
    let line = header.into_iter().find_map(|line| line.trim_start_matches(['#', ' ']).strip_prefix("Seeds:"));
    line.map_or(Ok(Vec::new()), |line| line.split(',').map(|seed| seed.trim().parse()).collect())
}

#[test]
fn bugs_that_were_found_stay_fixed() {
    let files = files();
    assert!(!files.is_empty(), "no regression was found in {}", folder().display());
    for file in files {
        let name = file.display();
        let text = std::fs::read_to_string(&file).expect("a file that can be read");
        let named = named_seeds(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let scenario =
            Scenario::load(&file).unwrap_or_else(|problems| panic!("{}", problems.render(100, false)));
        for seed in named.into_iter().chain((0..SEEDS).map(Seed)) {
            let mut report = burnin_cluster::run(&scenario.resolve(seed), &RunOptions::default()).report;
            let file = file.file_name().unwrap_or_default().display();
            report.reproduce = format!("burnin replay scenarios/regressions/{file}@{seed}");
            assert!(report.class == Class::Pass, "{name}@{seed}\n{}", failure_block(&report, Paint::Plain));
        }
    }
}

#[test]
fn seeds_are_read_from_the_header() {
    assert_eq!(named_seeds("# A story.\n# Seeds: 7, 9\n\nschema = 1"), Ok(vec![Seed(7), Seed(9)]));
    assert_eq!(named_seeds("# A story.\nschema = 1\n# Seeds: 7"), Ok(Vec::new()));
    assert!(named_seeds("# Seeds: seven\nschema = 1").unwrap_err().contains("seven"));
}
