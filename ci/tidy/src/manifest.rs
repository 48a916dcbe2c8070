//! Every crate takes what the workspace says once: lints, edition, Rust version, licence.

use toml::Table;

/// What each `[package]` inherits.
const PACKAGE: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

/// What a crate's manifest does not inherit. `path` is for the message.
pub fn manifest(path: &str, text: &str) -> Vec<String> {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return vec![format!("{path}: {error}")],
    };
    let inherits = |value: Option<&toml::Value>| {
        value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
    };
    let mut missing = Vec::new();
    if !inherits(table.get("lints")) {
        missing.push(format!("{path}: the crate has no `[lints] workspace = true`"));
    }
    for key in PACKAGE {
        if !inherits(table.get("package").and_then(|package| package.get(*key))) {
            missing.push(format!("{path}: `package.{key}` is not `{key}.workspace = true`"));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\
        [lints]\nworkspace = true\n";

    #[test]
    fn manifest_that_inherits_everything_is_silent() {
        assert_eq!(manifest("a/Cargo.toml", GOOD), [""; 0]);
    }

    #[test]
    fn missing_inheritance_is_found() {
        let found = |text: &str| manifest("a/Cargo.toml", text).join("\n");
        assert!(found(&GOOD.replace("[lints]\nworkspace = true", "")).contains("[lints] workspace = true"));
        assert!(found(&GOOD.replace("publish.workspace = true\n", "")).contains("package.publish"));
        assert!(found(&GOOD.replace("edition.workspace = true", "edition = \"2021\"")).contains("edition"));
        assert!(found("[package").contains("a/Cargo.toml"));
    }
}
