//! `burnin scenario`: check, list, describe and resolve scenario files.

use crate::args::{Format, ScenarioArgs, ScenarioVerb};
use crate::output::{Output, Stop};
use crate::select;
use burnin_report::ExitCode;
use burnin_scenario::{Problems, Scenario, Seed};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// See the module.
pub fn scenario(args: &ScenarioArgs, output: &Output) -> Result<ExitCode, Stop> {
    match &args.verb {
        ScenarioVerb::Lint { scenarios } => lint(scenarios, output),
        ScenarioVerb::List { scenarios, tag } => list(scenarios, tag, output),
        ScenarioVerb::Schema => {
            let schema =
                serde_json::to_string_pretty(&Scenario::json_schema_value()).expect("a schema is JSON");
            println!("{schema}");
            Ok(ExitCode::Pass)
        }
        ScenarioVerb::Resolve { scenario, seed, overrides } => {
            resolve(scenario, *seed, &overrides.pairs(), output)
        }
    }
}

fn lint(paths: &[PathBuf], output: &Output) -> Result<ExitCode, Stop> {
    let mut results = Vec::new();
    let mut wrong = 0;
    for file in select::files(paths)? {
        match select::read(&file, &[]) {
            Ok(scenario) => {
                output.result(format!("ok    {} ({})", file.display(), scenario.name));
                results.push(json!({ "file": file, "ok": true }));
            }
            Err(problems) => {
                wrong += 1;
                output.result(format!("FAIL  {}", file.display()));
                if output.format == Format::Text {
                    eprint!("{}", problems.render(100, output.color));
                }
                results.push(json!({ "file": file, "ok": false, "errors": errors(&problems) }));
            }
        }
        output.event(results.last().expect("just pushed"));
    }
    if output.format == Format::Json {
        output.document(&results);
    }
    if wrong > 0 {
        output.result(format!("{wrong} of {} scenarios have errors", results.len()));
        return Ok(ExitCode::Usage);
    }
    Ok(ExitCode::Pass)
}

fn errors(problems: &Problems) -> Vec<Value> {
    problems
        .list()
        .iter()
        .map(|problem| {
            let (line, column) = problems.place(problem);
            json!({ "line": line, "column": column, "message": problem.message })
        })
        .collect()
}

fn list(paths: &[PathBuf], tags: &[String], output: &Output) -> Result<ExitCode, Stop> {
    let selected = select::scenarios(paths, tags, &[], output)?;
    let width = selected.iter().map(|one| one.path.display().to_string().len()).max().unwrap_or(0);
    let mut results = Vec::new();
    for one in &selected {
        let scenario = &one.scenario;
        let path = one.path.display().to_string();
        let mutant = scenario.expect.as_ref().and_then(|expect| expect.mutant.clone());
        let result = json!({
            "file": path, "name": scenario.name, "summary": scenario.summary, "tags": scenario.tags, "mutant": mutant,
        });
        output.event(&result);
        results.push(result);
        output.result(format!("{path:<width$}  {}", scenario.summary));
    }
    if output.format == Format::Json {
        output.document(&results);
    }
    Ok(ExitCode::Pass)
}

fn resolve(
    path: &Path,
    seed: Seed,
    overrides: &[(String, String)],
    output: &Output,
) -> Result<ExitCode, Stop> {
    let plan = select::load(path, overrides, output)?.resolve(seed);
    output.document(&plan);
    output.result(plan.to_toml().trim_end());
    Ok(ExitCode::Pass)
}
