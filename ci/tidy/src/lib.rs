//! The rules that people forget, as tests: `cargo test -p burnin-tidy`.
//!
//! A rule is a function from text to findings, so that each one is shown a planted violation in a unit test
//! beside it. `tests/workspace.rs` runs all of them over the workspace.
//!
//! | file | rule |
//! |---|---|
//! | `calls.rs` | what code under simulation must not call |
//! | `style.rs` | `//!` on top, `select!` biased, no mutant armed outside the simulator, file length, reasons |
//! | `manifest.rs` | every crate inherits the workspace's lints, edition, licence and Rust version |
//! | `edges.rs` | a crate uses only what the table in ARCHITECTURE.md allows |
//! | `licences.rs` | the licences and sources of all dependencies against deny.toml |
//!
//! A line that must break a rule of `calls.rs` or `style.rs` says so, on the line or on the one above:
//! `// tidy: allow(clock): the reason`; `allow-file` instead of `allow` speaks for the whole file. An escape
//! without a reason, or one that nothing needs, is a finding too.

mod calls;
mod edges;
mod lex;
mod licences;
mod manifest;
mod metadata;
mod source;
mod style;

pub use calls::calls;
pub use edges::{Edges, edges};
pub use licences::{Policy, licences};
pub use manifest::manifest;
pub use metadata::Metadata;
pub use source::{Finding, Source, escapes};
pub use style::{biased_select, length, module_doc, mutants, reasons};

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("ci/tidy is two levels below the root").to_owned()
}

/// Every Rust file of the workspace, sorted by path. What builds and runs leave behind is not looked at.
pub fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root(), "", &mut sources).expect("the workspace can be read");
    sources.sort_by(|a, b| a.path().cmp(b.path()));
    sources
}

fn collect(directory: &Path, relative: &str, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        let path = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && !["target", "results", "node_modules"].contains(&&*name) {
                collect(&entry.path(), &path, sources)?;
            }
        } else if name.ends_with(".rs") {
            sources.push(Source::new(&path, &fs::read_to_string(entry.path())?));
        }
    }
    Ok(())
}
