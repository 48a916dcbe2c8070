//! Which crate may use which: the table of ARCHITECTURE.md against `cargo metadata`.
//!
//! The table is the one below the heading `## Dependencies`, with the columns crate, folder, may use, tests
//! may also use. A crate uses only crates of rows above it, so that the table cannot allow a cycle.

use crate::metadata::Metadata;
use std::collections::BTreeSet;

/// One row.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: String,
    folder: String,
    uses: Vec<String>,
    tests: Vec<String>,
}

/// The table.
#[derive(Debug)]
pub struct Edges(Vec<Row>);

impl Edges {
    /// Reads the table from the text of ARCHITECTURE.md.
    pub fn parse(text: &str) -> Result<Edges, String> {
        let section = text.split("\n## Dependencies\n").nth(1).ok_or("there is no `## Dependencies`")?;
        let section = section.split("\n## ").next().unwrap_or(section);
        let mut rows = Vec::new();
        for line in section.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(names).collect();
            let [name, folder, uses, tests] = &cells[..] else {
                return Err(format!("not four columns: {line}"));
            };
            let ([name], [folder]) = (&name[..], &folder[..]) else {
                return Err(format!("not one crate and one folder: {line}"));
            };
            let (name, folder) = (name.clone(), folder.clone());
            rows.push(Row { name, folder, uses: uses.clone(), tests: tests.clone() });
        }
        let table = Edges(rows);
        table.check_order()?;
        Ok(table)
    }

    fn check_order(&self) -> Result<(), String> {
        let mut above = BTreeSet::new();
        for row in &self.0 {
            if let Some(name) = row.uses.iter().find(|name| !above.contains(name)) {
                return Err(format!("`{}` may use `{name}`, which is not a row above it", row.name));
            }
            if let Some(name) = row.tests.iter().find(|name| self.row(name).is_none()) {
                return Err(format!("the tests of `{}` may use `{name}`, which is no row", row.name));
            }
            if !above.insert(&row.name) {
                return Err(format!("`{}` has two rows", row.name));
            }
        }
        if above.is_empty() { Err("the table has no rows".to_owned()) } else { Ok(()) }
    }

    fn row(&self, name: &str) -> Option<&Row> {
        self.0.iter().find(|row| row.name == name)
    }

    /// The folders of everything that the crate may use, directly or through others.
    pub fn reach(&self, name: &str) -> BTreeSet<&str> {
        let mut folders = BTreeSet::new();
        let mut open = vec![name];
        while let Some(row) = open.pop().and_then(|name| self.row(name)) {
            open.extend(row.uses.iter().map(String::as_str));
            folders.insert(&*row.folder);
        }
        folders
    }
}

/// The names in backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Where the workspace and the table differ.
pub fn edges(table: &Edges, metadata: &Metadata) -> Vec<String> {
    let members: BTreeSet<_> = metadata.members().map(|package| &*package.name).collect();
    let mut found: Vec<_> = (table.0.iter().filter(|row| !members.contains(&*row.name)))
        .map(|row| format!("ARCHITECTURE.md names the crate `{}`, which is not in the workspace", row.name))
        .collect();
    for package in metadata.members() {
        let name = &package.name;
        let Some(row) = table.row(name) else {
            found.push(format!("`{name}` has no row in ARCHITECTURE.md: say what it may use"));
            continue;
        };
        let folder = metadata.folder(package);
        if row.folder != folder {
            found.push(format!("`{name}` is in {folder}, ARCHITECTURE.md says {}", row.folder));
        }
        for dependency in package.dependencies.iter().filter(|dep| members.contains(&*dep.name)) {
            let test_only = dependency.kind.as_deref() == Some("dev");
            let allowed =
                row.uses.contains(&dependency.name) || test_only && row.tests.contains(&dependency.name);
            if !allowed {
                let who = if test_only { "the tests of " } else { "" };
                found.push(format!(
                    "{who}`{name}` must not use `{}`: ARCHITECTURE.md allows [{}]; find the crate that the \
                     code belongs to, or move what both need to a crate above them",
                    dependency.name,
                    row.uses.join(", ")
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Map\n\n## Dependencies\n\n| crate | folder | may use | tests may also use |\n|---|---|---|---|\n\
        | `a` | `x/a` | | `b` |\n| `b` | `x/b` | `a` | |\n| `c` | `x/c` | `b` | |\n\n## Next\n| `d` | `x` | | |\n";

    fn workspace(a: &str, b: &str) -> Metadata {
        let package = |name: &str, uses: &str| {
            format!(
                r#"{{"id": "{name}", "name": "{name}", "version": "1.0.0", "license": null, "source": null,
                "manifest_path": "/w/x/{name}/Cargo.toml", "dependencies": [{uses}]}}"#
            )
        };
        let packages = [package("a", a), package("b", b), package("c", "")].join(",");
        let json = format!(
            r#"{{"packages": [{packages}], "workspace_members": ["a", "b", "c"], "workspace_root": "/w"}}"#
        );
        Metadata::parse(&json).expect("it is what cargo prints")
    }

    fn found(a: &str, b: &str) -> Vec<String> {
        edges(&Edges::parse(TABLE).expect("the table is good"), &workspace(a, b))
    }

    const NORMAL_A: &str = r#"{"name": "a", "kind": null}"#;
    const NORMAL_B: &str = r#"{"name": "b", "kind": null}"#;
    const DEV_B: &str = r#"{"name": "b", "kind": "dev"}"#;
    const DEV_C: &str = r#"{"name": "c", "kind": "dev"}"#;

    #[test]
    fn allowed_edges_are_silent() {
        assert_eq!(found("", NORMAL_A), [""; 0]);
        assert_eq!(found(DEV_B, r#"{"name": "serde", "kind": null}"#), [""; 0]);
    }

    #[test]
    fn planted_edges_are_found() {
        assert!(found(NORMAL_B, "")[0].contains("`a` must not use `b`"));
        assert!(found("", DEV_C)[0].contains("the tests of `b` must not use `c`"));
        let build = r#"{"name": "b", "kind": "build"}"#;
        assert!(found(build, "")[0].contains("`a` must not use `b`"));
    }

    #[test]
    fn table_and_workspace_name_the_same_crates() {
        let table = |text: &str| edges(&Edges::parse(text).expect("the table is good"), &workspace("", ""));
        assert!(table(&TABLE.replace("| `c` | `x/c` | `b` | |\n", ""))[0].contains("`c` has no row"));
        let more = TABLE.replace("\n\n## Next", "\n| `e` | `x/e` | | |\n\n## Next");
        assert!(table(&more)[0].contains("crate `e`, which is not in the workspace"));
        assert!(
            table(&TABLE.replace("`x/b`", "`y/b`"))[0].contains("`b` is in x/b, ARCHITECTURE.md says y/b")
        );
    }

    #[test]
    fn table_that_allows_a_cycle_is_refused() {
        let error = |text: &str| Edges::parse(text).err().unwrap_or_default();
        assert!(error(&TABLE.replace("| `x/a` | |", "| `x/a` | `c` |")).contains("not a row above"));
        assert!(error(&TABLE.replace("| | `b` |", "| | `z` |")).contains("which is no row"));
        assert!(error("# Map\n").contains("## Dependencies"));
        assert!(error("\n## Dependencies\n\nwords\n").contains("no rows"));
    }

    #[test]
    fn reach_follows_edges() {
        let table = Edges::parse(TABLE).expect("the table is good");
        assert_eq!(table.reach("c").into_iter().collect::<Vec<_>>(), ["x/a", "x/b", "x/c"]);
        assert_eq!(table.reach("a").len(), 1);
    }
}
