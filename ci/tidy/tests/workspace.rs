//! The rules, held over the workspace. A failure lists every finding with its fix.

use burnin_tidy::{Edges, Finding, Metadata, Policy, Source};
use std::fs;

/// Fails with the list when there is something in it.
fn none<T: ToString>(found: Vec<T>) {
    let lines: Vec<_> = found.iter().map(|finding| format!("  {}\n", finding.to_string())).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.concat());
}

fn every_source(rule: fn(&Source) -> Vec<Finding>) {
    let sources = burnin_tidy::sources();
    assert!(sources.len() > 50, "only {} sources were found", sources.len());
    none(sources.iter().flat_map(rule).collect());
}

fn read(path: &str) -> String {
    fs::read_to_string(burnin_tidy::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn metadata() -> Metadata {
    Metadata::of(&burnin_tidy::root())
}

fn table() -> Edges {
    Edges::parse(&read("ARCHITECTURE.md")).unwrap_or_else(|error| panic!("ARCHITECTURE.md: {error}"))
}

#[test]
fn code_under_simulation_goes_through_the_runtime() {
    every_source(burnin_tidy::calls);
}

#[test]
fn every_file_says_what_it_is_for() {
    every_source(burnin_tidy::module_doc);
}

#[test]
fn every_select_is_biased() {
    every_source(burnin_tidy::biased_select);
}

#[test]
fn only_the_simulator_arms_mutants() {
    every_source(burnin_tidy::mutants);
}

#[test]
fn no_file_is_too_long() {
    every_source(burnin_tidy::length);
}

#[test]
fn lints_are_expected_with_a_reason() {
    every_source(burnin_tidy::reasons);
}

#[test]
fn every_escape_is_needed_and_explained() {
    every_source(|source| {
        for rule in [
            burnin_tidy::calls,
            burnin_tidy::module_doc,
            burnin_tidy::biased_select,
            burnin_tidy::mutants,
            burnin_tidy::length,
            burnin_tidy::reasons,
        ] {
            rule(source);
        }
        burnin_tidy::escapes(source)
    });
}

#[test]
fn crates_use_only_what_the_table_allows() {
    none(burnin_tidy::edges(&table(), &metadata()));
}

#[test]
fn broker_never_names_an_engine() {
    let reach = table().reach("burnin-broker").into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert!(reach.contains(&"broker/log".to_owned()), "the broker has no log: {reach:?}");
    let ours = |folder: &String| folder.starts_with("broker") || folder.starts_with("runtime");
    none(reach.into_iter().filter(|folder| !ours(folder)).collect());
}

#[test]
fn checkers_see_the_history_and_nothing_else() {
    let reach = table().reach("burnin-checkers").into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(reach, ["runtime", "workloads/checkers", "workloads/history"]);
}

#[test]
fn every_crate_inherits_from_the_workspace() {
    let manifests = metadata().manifests();
    assert!(manifests.len() > 20, "only {} crates were found", manifests.len());
    none(manifests.iter().flat_map(|path| burnin_tidy::manifest(path, &read(path))).collect());
}

#[test]
fn dependencies_have_allowed_licences_and_sources() {
    let policy = Policy::parse(&read("deny.toml")).unwrap_or_else(|error| panic!("deny.toml: {error}"));
    none(burnin_tidy::licences(&policy, &metadata()));
}
