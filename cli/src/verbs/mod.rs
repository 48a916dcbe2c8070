//! The verbs, one per file, and what they share.

pub mod doctor;
pub mod meta;
pub mod queue;
pub mod replay;
pub mod run;
pub mod scenario;
pub mod sweep;
pub mod task;
pub mod zoo;

use crate::place::Chosen;
use crate::select::Selected;
use burnin_report::Build;
use burnin_scenario::{Plan, Seed};
use std::path::Path;

/// The first line of everything that runs plans, so that a log that breaks off still has it.
pub fn banner(seed: &str, scenario: &str) -> String {
    let Build { version, commit, .. } = Build::current();
    format!("burnin: seed={seed} scenario={scenario} build={version}+{commit}")
}

/// The names of some scenarios in a few words.
pub fn names(selected: &[Selected]) -> String {
    match selected {
        [one] => one.scenario.name.clone(),
        [first, rest @ ..] if rest.len() > 2 => format!("{},+{}", first.scenario.name, rest.len()),
        few => few.iter().map(|one| one.scenario.name.as_str()).collect::<Vec<_>>().join(","),
    }
}

/// The command that repeats a run, as it can be pasted into a shell. On real processes it is the same plan once
/// more, and what comes of it may differ.
pub fn reproduce(
    path: &Path,
    seed: Seed,
    overrides: &[(String, String)],
    armed: bool,
    chosen: &Chosen,
) -> String {
    let mut command = match chosen {
        Chosen::Sim => format!("burnin replay {}", quoted(&format!("{}@{seed}", path.display()))),
        Chosen::Process(_) => {
            format!("burnin run {} --seed {seed} --target process", quoted(&path.display().to_string()))
        }
    };
    for (key, value) in overrides {
        command.push_str(&format!(" --set {}", quoted(&format!("{key}={value}"))));
    }
    if !armed {
        command.push_str(" --unarmed");
    }
    command
}

/// In quotes when a shell would take it apart.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if text.chars().all(plain) && !text.is_empty() {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The plan in a few lines, for `-v`.
pub fn schedule_lines(plan: &Plan) -> Vec<String> {
    plan.schedule
        .iter()
        .map(|fault| {
            let target = fault.target();
            let on = if target.is_empty() { target } else { format!(" on {target}") };
            let lasts = if fault.lasts.nanos() > 0 { format!(" for {}", fault.lasts) } else { String::new() };
            format!("  {:>14}  {:<18} {}{on}{lasts}", fault.at.to_string(), fault.id, fault.action.name())
        })
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use burnin_scenario::Scenario;

    /// Some plan.
    pub fn plan() -> Plan {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/smoke/kill-loop.toml");
        Scenario::load(Path::new(path)).unwrap().resolve(Seed(1))
    }

    #[test]
    fn the_reproduce_command_survives_a_shell() {
        let path = Path::new("scenarios/smoke/kill-loop.toml");
        let sim = Chosen::Sim;
        assert_eq!(
            reproduce(path, Seed(7), &[], true, &sim),
            "burnin replay scenarios/smoke/kill-loop.toml@7"
        );
        let overrides = [("fault.kill.every".to_owned(), "{ mean = \"1s\" }".to_owned())];
        assert_eq!(
            reproduce(Path::new("a b.toml"), Seed(7), &overrides, false, &sim),
            "burnin replay 'a b.toml@7' --set 'fault.kill.every={ mean = \"1s\" }' --unarmed"
        );
        let process = Chosen::Process("burnin-broker".into());
        assert_eq!(
            reproduce(path, Seed(7), &[], true, &process),
            "burnin run scenarios/smoke/kill-loop.toml --seed 7 --target process"
        );
    }
}
