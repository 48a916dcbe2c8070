//! What `cargo metadata` says, as far as the rules need it.

use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// The crates of the workspace and all of their dependencies on this machine's target.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub(crate) packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: String,
}

/// A crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// Where it came from; `None` for a crate of a local path.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A crate that a crate names in its manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Reads what cargo printed.
    pub fn parse(json: &str) -> Result<Metadata, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Asks cargo. Panics with cargo's message when it cannot tell.
    pub fn of(root: &Path) -> Metadata {
        let host = output(Command::new("rustc").arg("-vV"));
        let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
        let json = output(Command::new(env!("CARGO")).current_dir(root).args([
            "metadata",
            "--format-version=1",
            "--filter-platform",
            host,
        ]));
        Metadata::parse(&json).expect("cargo prints the format that it was asked for")
    }

    /// The crates of the workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The crates from elsewhere.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| !self.workspace_members.contains(&package.id))
    }

    /// The folder of a crate, relative to the root.
    pub(crate) fn folder<'a>(&self, package: &'a Package) -> &'a str {
        let path = package.manifest_path.strip_prefix(&self.workspace_root).unwrap_or(&package.manifest_path);
        path.trim_start_matches('/').trim_end_matches("/Cargo.toml")
    }

    /// The manifests of the workspace's crates, relative to the root.
    pub fn manifests(&self) -> Vec<String> {
        self.members().map(|package| format!("{}/Cargo.toml", self.folder(package))).collect()
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}
