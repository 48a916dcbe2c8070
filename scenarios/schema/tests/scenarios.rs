//! The scenarios of this repository: each is valid, resolves, and survives being written and read.

use burnin_scenario::{Plan, Scenario, Seed};
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("scenarios/");
    let mut files = Vec::new();
    for folder in std::fs::read_dir(root).unwrap() {
        let folder = folder.unwrap().path();
        if folder.is_dir() && folder.file_name().is_some_and(|name| name != "schema") {
            files.extend(std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

#[test]
fn every_scenario_is_valid_and_its_plan_survives_writing_and_reading() {
    let files = files();
    assert!(!files.is_empty());
    for file in files {
        let scenario = Scenario::load(&file).unwrap_or_else(|problems| panic!("{problems}"));
        for seed in (0..20).chain([u64::MAX]) {
            let plan = scenario.resolve(Seed(seed));
            plan.belongs_to(&scenario).unwrap();
            let text = plan.to_toml();
            let again =
                Plan::parse("resolved.toml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
            assert_eq!(plan, again, "{}", file.display());
            let json = serde_json::to_string(&plan).unwrap();
            assert_eq!(plan, serde_json::from_str(&json).unwrap(), "{}", file.display());
        }
    }
}
