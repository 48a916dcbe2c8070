//! Licences and sources of all dependencies, by the policy of deny.toml. `cargo deny check` says the same and
//! more; this holds it where cargo-deny is not installed.

use crate::metadata::Metadata;
use serde::Deserialize;

/// The part of deny.toml that is held here.
#[derive(Debug, Deserialize)]
pub struct Policy {
    licenses: Licenses,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

impl Policy {
    /// Reads deny.toml.
    pub fn parse(text: &str) -> Result<Policy, toml::de::Error> {
        toml::from_str(text)
    }

    /// Whether an SPDX expression can be met by allowed licences. An old `/` means OR; AND binds more
    /// tightly than OR.
    fn allows(&self, expression: &str) -> bool {
        let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<_> = spaced.split_whitespace().collect();
        let mut at = 0;
        let met = self.any(&words, &mut at);
        met && at == words.len()
    }

    fn any(&self, words: &[&str], at: &mut usize) -> bool {
        let mut met = self.every(words, at);
        while words.get(*at) == Some(&"OR") {
            *at += 1;
            met |= self.every(words, at);
        }
        met
    }

    fn every(&self, words: &[&str], at: &mut usize) -> bool {
        let mut met = self.one(words, at);
        while words.get(*at) == Some(&"AND") {
            *at += 1;
            met &= self.one(words, at);
        }
        met
    }

    fn one(&self, words: &[&str], at: &mut usize) -> bool {
        let Some(&word) = words.get(*at) else { return false };
        *at += 1;
        if word == "(" {
            let met = self.any(words, at);
            let closed = words.get(*at) == Some(&")");
            *at += 1;
            return met && closed;
        }
        let mut licence = word.to_owned();
        if let [with @ "WITH", exception, ..] = words[*at..] {
            licence = format!("{word} {with} {exception}");
            *at += 2;
        }
        self.licenses.allow.contains(&licence)
    }
}

/// Dependencies whose licence or source is not allowed.
pub fn licences(policy: &Policy, metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for package in metadata.others() {
        let (name, version) = (&package.name, &package.version);
        let licence = package.license.as_deref().unwrap_or("none");
        if !policy.allows(licence) {
            let allowed = policy.licenses.allow.join(", ");
            found.push(format!("{name} {version} has the licence `{licence}` (deny.toml allows: {allowed})"));
        }
        let source = package.source.as_deref().unwrap_or("a local path");
        let known = |registry: &String| source.strip_prefix("registry+") == Some(registry);
        if !policy.sources.allow_registry.iter().any(known) {
            found.push(format!("{name} {version} comes from {source}, which deny.toml does not allow"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let text = "[licenses]\nallow = [\"MIT\", \"Unicode-3.0\", \"Apache-2.0 WITH LLVM-exception\"]\n\
            [sources]\nallow-registry = [\"https://registry.example\"]\n";
        Policy::parse(text).expect("the policy is good")
    }

    #[test]
    fn expressions_are_met_or_not() {
        for (expression, met) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("none", false),
            ("", false),
            ("MIT OR Apache-2.0", true),
            ("Apache-2.0/MIT", true),
            ("Apache-2.0 / GPL-3.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND OpenSSL", false),
            ("GPL-3.0 AND MIT OR MIT", true),
            ("MIT AND GPL-3.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("MIT WITH something", false),
            ("(MIT", false),
            ("MIT)", false),
        ] {
            assert_eq!(policy().allows(expression), met, "{expression}");
        }
    }

    #[test]
    fn planted_dependencies_are_found() {
        let package = |name: &str, licence: &str, source: &str| {
            format!(
                r#"{{"id": "{name}", "name": "{name}", "version": "1.0.0", "license": {licence}, "source": {source},
                "manifest_path": "/r/{name}/Cargo.toml", "dependencies": []}}"#
            )
        };
        let good = r#""registry+https://registry.example""#;
        let packages = [
            package("fine", r#""MIT""#, good),
            package("viral", r#""AGPL-3.0""#, good),
            package("unlicensed", "null", good),
            package("forked", r#""MIT""#, r#""git+https://git.example/forked""#),
            package("ours", "null", "null"),
        ]
        .join(",");
        let json =
            format!(r#"{{"packages": [{packages}], "workspace_members": ["ours"], "workspace_root": "/w"}}"#);
        let found = licences(&policy(), &Metadata::parse(&json).expect("it is what cargo prints"));
        let names: Vec<_> = found.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(names, ["viral", "unlicensed", "forked"], "{found:?}");
    }
}
