//! Which seeds a test takes: those of its attribute, unless the environment says otherwise.

use burnin_scenario::{Seed, Seeds};
use std::hash::{BuildHasher, RandomState};
use std::process::Command;

/// The seeds of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub seeds: Seeds,
    /// Somebody wants to see this one seed, so that nothing is asked of the whole.
    pub single: bool,
}

/// From where bases come that are not fixed.
pub(crate) trait Bases {
    fn git(&self) -> Result<u64, String>;
    fn random(&self) -> u64;
}

/// The commit of the package's repository; what the operating system gives.
pub(crate) struct Outside {
    pub folder: &'static str,
}

impl Bases for Outside {
    fn git(&self) -> Result<u64, String> {
        let failed = |why: String| format!("`git rev-parse HEAD` failed in {}: {}", self.folder, why.trim());
        let git = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(self.folder).output();
        let output = git.map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let commit = String::from_utf8_lossy(&output.stdout);
        let digits = commit.get(..8).unwrap_or_default();
        u64::from_str_radix(digits, 16).map_err(|_| failed(format!("`{}` is no commit", commit.trim())))
    }

    /// 32 bits: short enough to be read out, enough to be new.
    fn random(&self) -> u64 {
        RandomState::new().hash_one(std::process::id()) >> 32
    }
}

/// The seeds for a test that asks for `count` of them. An error names the variable, its value and the choices.
pub(crate) fn choose(
    count: u64,
    env: impl Fn(&str) -> Option<String>,
    bases: &impl Bases,
) -> Result<Chosen, String> {
    let set = |name: &str| env(name).filter(|text| !text.trim().is_empty());
    if let Some(text) = set("BURNIN_SEED") {
        let seed: Seed = text.parse().map_err(|error| format!("BURNIN_SEED: {error}"))?;
        return Ok(Chosen { seeds: Seeds::List(vec![seed.0]), single: true });
    }
    let base = base(set("BURNIN_SEED_BASE"), bases)?;
    let seeds = match set("BURNIN_SEEDS") {
        None => Seeds::Span(0, count),
        Some(text) => text.parse().map_err(|error| {
            format!(
                "BURNIN_SEEDS: {error} (a count like 100, a range like 1000..2000, or a list like 7,9,11)"
            )
        })?,
    };
    // A range and a list say which seeds they mean; a count begins at the base.
    let counted = set("BURNIN_SEEDS").is_none_or(|text| !text.contains("..") && !text.contains(','));
    let seeds = match seeds {
        Seeds::Span(0, count) if counted => Seeds::Span(base, base.saturating_add(count)),
        other => other,
    };
    Ok(Chosen { seeds, single: false })
}

fn base(text: Option<String>, bases: &impl Bases) -> Result<u64, String> {
    match text.as_deref().map(str::trim) {
        None | Some("fixed") => Ok(0),
        Some("git") => bases.git().map_err(|error| format!("BURNIN_SEED_BASE=git: {error}")),
        Some("random") => Ok(bases.random()),
        Some(other) => Err(format!("BURNIN_SEED_BASE: unknown base `{other}` (known: fixed, git, random)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Bases for Known {
        fn git(&self) -> Result<u64, String> {
            Err("not a repository".to_owned())
        }
        fn random(&self) -> u64 {
            5_000
        }
    }

    fn chosen(pairs: &[(&str, &str)]) -> Result<(String, bool), String> {
        let env =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        choose(8, env, &Known).map(|chosen| (chosen.seeds.to_string(), chosen.single))
    }

    fn spans(text: &str, single: bool) -> Result<(String, bool), String> {
        Ok((text.to_owned(), single))
    }

    #[test]
    fn environment_overrides_the_attribute() {
        assert_eq!(chosen(&[]), spans("0..8", false));
        assert_eq!(chosen(&[("BURNIN_SEEDS", "100")]), spans("0..100", false));
        assert_eq!(chosen(&[("BURNIN_SEEDS", "10..12")]), spans("10..12", false));
        assert_eq!(chosen(&[("BURNIN_SEEDS", "7,9")]), spans("7,9", false));
        assert_eq!(chosen(&[("BURNIN_SEED", "0xff"), ("BURNIN_SEEDS", "10..12")]), spans("255", true));
    }

    #[test]
    fn base_moves_counts_and_nothing_else() {
        let random = ("BURNIN_SEED_BASE", "random");
        assert_eq!(chosen(&[random]), spans("5000..5008", false));
        assert_eq!(chosen(&[random, ("BURNIN_SEEDS", "2")]), spans("5000..5002", false));
        assert_eq!(chosen(&[random, ("BURNIN_SEEDS", "0..3")]), spans("0..3", false));
        assert_eq!(chosen(&[("BURNIN_SEED_BASE", "fixed")]), spans("0..8", false));
    }

    #[test]
    fn what_is_malformed_is_named_with_its_value() {
        for (name, value) in [
            ("BURNIN_SEED", "seven"),
            ("BURNIN_SEED", "-1"),
            ("BURNIN_SEEDS", "9..3"),
            ("BURNIN_SEEDS", "0"),
            ("BURNIN_SEEDS", "1,x"),
            ("BURNIN_SEED_BASE", "date"),
            ("BURNIN_SEED_BASE", "git"),
        ] {
            let error = chosen(&[(name, value)]).unwrap_err();
            let part = value.split(',').next_back().unwrap();
            assert!(error.starts_with(name) && error.contains(part), "{error}");
        }
    }
}
