//! Which scenarios are meant: files and directories, overrides, tags; and which part of a sweep is ours.

use crate::embedded;
use crate::output::{Output, Stop};
use burnin_core::config::{check_broker_property, check_topic_property};
use burnin_report::ExitCode;
use burnin_scenario::{Problems, PropertyRules, Scenario, Shard, nearest};
use std::path::{Path, PathBuf};

/// A scenario and where it was read from.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub scenario: Scenario,
}

/// The scenario files that the paths mean, sorted; directories are searched all the way down.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Stop> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            search(path, &mut found)
                .map_err(|error| Stop::environment(format!("{}: {error}", path.display())))?;
            if found.len() == before {
                return Err(Stop::usage(format!("there is no scenario (*.toml) in {}", path.display())));
            }
        } else if path.exists() || embedded::text(path).is_some() {
            found.push(path.clone());
        } else {
            return Err(missing(path));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn search(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden && !path.join("Cargo.toml").exists() {
            search(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            found.push(path);
        }
    }
    Ok(())
}

/// A path that does not exist, with the files beside it that it may have meant.
fn missing(path: &Path) -> Stop {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside: Vec<String> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    let with_toml = format!("{name}.toml");
    let near = match beside.contains(&with_toml) {
        true => vec![with_toml.as_str()],
        false => nearest(&name, beside.iter().map(String::as_str)),
    };
    let hint = match near.first() {
        Some(near) => format!(" (did you mean `{}`?)", parent.join(near).display()),
        None => String::new(),
    };
    Stop::usage(format!("there is no scenario `{}`{hint}", path.display()))
}

/// Reads one scenario.
pub fn load(path: &Path, overrides: &[(String, String)], output: &Output) -> Result<Scenario, Stop> {
    if !path.exists() && embedded::text(path).is_none() {
        return Err(missing(path));
    }
    read(path, overrides).map_err(|problems| refused(&problems, output))
}

/// Reads one scenario, with what the broker knows of properties.
pub fn read(path: &Path, overrides: &[(String, String)]) -> Result<Scenario, Box<Problems>> {
    let rules = PropertyRules {
        broker: |name, value| check_broker_property(name, value).map(drop).map_err(|error| error.to_string()),
        topic: |name, value| check_topic_property(name, value).map(drop).map_err(|error| error.to_string()),
    };
    match embedded::text(path) {
        Some(text) => Scenario::parse_with(embedded::NAME, text, overrides, Some(&rules)),
        None => Scenario::load_with(path, overrides, Some(&rules)),
    }
}

/// The errors of a scenario as a reason to stop.
pub fn refused(problems: &Problems, output: &Output) -> Stop {
    let count = match problems.list().len() {
        1 => "one error".to_owned(),
        n => format!("{n} errors"),
    };
    let shown = problems.render(100, output.color);
    Stop::usage(format!("{} has {count}\n{}", problems.file(), shown.trim_end()))
}

/// Reads all scenarios that the paths and tags mean. Two scenarios of one name cannot be told apart in
/// results, and are refused.
pub fn scenarios(
    paths: &[PathBuf],
    tags: &[String],
    overrides: &[(String, String)],
    output: &Output,
) -> Result<Vec<Selected>, Stop> {
    let mut selected: Vec<Selected> = Vec::new();
    let mut tags_seen: Vec<String> = Vec::new();
    for path in files(paths)? {
        let scenario = load(&path, overrides, output)?;
        tags_seen.extend(scenario.tags.iter().cloned());
        if !tags.is_empty() && !tags.iter().any(|tag| scenario.tags.contains(tag)) {
            continue;
        }
        if let Some(twin) = selected.iter().find(|other| other.scenario.name == scenario.name) {
            let (one, two) = (twin.path.display(), path.display());
            return Err(Stop::usage(format!("{one} and {two} are both named `{}`", scenario.name)));
        }
        selected.push(Selected { path, scenario });
    }
    if selected.is_empty() {
        tags_seen.sort();
        tags_seen.dedup();
        let message = format!(
            "no scenario has the tag `{}` (there are: {})",
            tags.join("` or `"),
            tags_seen.join(", ")
        );
        return Err(Stop { code: ExitCode::Nothing, message });
    }
    Ok(selected)
}

/// Environment variables that tell an array job its index (from the first number) and its size.
const ARRAYS: [(&str, u64, &[&str]); 4] = [
    ("JOB_COMPLETION_INDEX", 0, &["BURNIN_SHARDS"]),
    ("SLURM_ARRAY_TASK_ID", 0, &["BURNIN_SHARDS", "SLURM_ARRAY_TASK_COUNT"]),
    ("AWS_BATCH_JOB_ARRAY_INDEX", 0, &["BURNIN_SHARDS", "AWS_BATCH_JOB_ARRAY_SIZE"]),
    ("CI_NODE_INDEX", 1, &["BURNIN_SHARDS", "CI_NODE_TOTAL"]),
];

/// The part that is ours: as given, else as an array job's environment says, else everything.
pub fn shard(given: Option<Shard>, env: impl Fn(&str) -> Option<String>) -> Result<Shard, Stop> {
    if let Some(shard) = given {
        return Ok(shard);
    }
    let number = |name: &str| -> Result<Option<u64>, Stop> {
        let Some(text) = env(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| Stop::usage(format!("{name}=`{text}` is not a number")))
    };
    for (index, first, sizes) in ARRAYS {
        let Some(position) = number(index)? else { continue };
        let size = sizes.iter().map(|name| number(name)).find_map(Result::transpose).transpose()?;
        let Some(of) = size else {
            let sizes = sizes.join(" or ");
            return Err(Stop::usage(format!(
                "{index} is set, but not how many parts there are: set {sizes}, or give --shard"
            )));
        };
        let start = if index == "SLURM_ARRAY_TASK_ID" {
            number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(first)
        } else {
            first
        };
        let shard = format!("{}/{of}", (position + 1).saturating_sub(start));
        return shard.parse().map_err(|error| Stop::usage(format!("{index}={position}: {error}")));
    }
    Ok(Shard::WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard_of(pairs: &[(&str, &str)]) -> Result<String, String> {
        let env =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        shard(None, env).map(|shard| shard.to_string()).map_err(|stop| stop.message)
    }

    #[test]
    fn array_jobs_of_every_engine_know_their_part() {
        assert_eq!(shard_of(&[]).unwrap(), "1/1");
        assert_eq!(shard_of(&[("JOB_COMPLETION_INDEX", "0"), ("BURNIN_SHARDS", "4")]).unwrap(), "1/4");
        assert_eq!(
            shard_of(&[
                ("SLURM_ARRAY_TASK_ID", "12"),
                ("SLURM_ARRAY_TASK_MIN", "10"),
                ("SLURM_ARRAY_TASK_COUNT", "4")
            ])
            .unwrap(),
            "3/4"
        );
        assert_eq!(
            shard_of(&[("AWS_BATCH_JOB_ARRAY_INDEX", "3"), ("AWS_BATCH_JOB_ARRAY_SIZE", "4")]).unwrap(),
            "4/4"
        );
        assert_eq!(shard_of(&[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "4")]).unwrap(), "1/4");
    }

    #[test]
    fn an_index_without_a_size_or_out_of_range_is_an_error() {
        assert!(shard_of(&[("JOB_COMPLETION_INDEX", "0")]).unwrap_err().contains("BURNIN_SHARDS"));
        let outside = shard_of(&[("CI_NODE_INDEX", "5"), ("CI_NODE_TOTAL", "4")]).unwrap_err();
        assert!(outside.contains("5/4"), "{outside}");
        assert!(
            shard_of(&[("JOB_COMPLETION_INDEX", "x"), ("BURNIN_SHARDS", "4")]).unwrap_err().contains("`x`")
        );
    }
}
