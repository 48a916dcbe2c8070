//! Where a test stands: its name as the test program knows it, the command that repeats one of its seeds, and
//! the files that it means.

use std::path::{Path, PathBuf};

/// Where a test stands. The attribute fills it in.
#[derive(Clone, Copy, Debug)]
pub struct TestPlace {
    /// The folder of the package.
    pub manifest_dir: &'static str,
    /// The package.
    pub package: &'static str,
    /// The crate, as Rust names it.
    pub binary: &'static str,
    /// The program, when the crate is one.
    pub program: Option<&'static str>,
    /// Whether the crate is an integration test.
    pub integration: bool,
    /// The module, the crate's name first.
    pub module: &'static str,
    /// The function.
    pub name: &'static str,
}

impl TestPlace {
    /// The test as its program knows it: `module::name`.
    pub(crate) fn path(&self) -> String {
        match self.module.split_once("::") {
            Some((_, module)) => format!("{module}::{}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// The command that repeats one seed; without a seed, all of them.
    pub(crate) fn command(&self, seed: Option<u64>) -> String {
        let seed = seed.map(|seed| format!("BURNIN_SEED={seed} ")).unwrap_or_default();
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        format!("{seed}cargo test -p {}{release} {} {} -- --exact", self.package, self.target(), self.path())
    }

    /// The flag that selects the test program.
    fn target(&self) -> String {
        match self.program {
            _ if self.integration => format!("--test {}", self.integration_name()),
            Some(program) => format!("--bin {program}"),
            None => "--lib".to_owned(),
        }
    }

    /// Integration tests are named after their files, which may have hyphens where crates have underscores.
    fn integration_name(&self) -> String {
        let folder = std::fs::read_dir(Path::new(self.manifest_dir).join("tests"));
        let names = folder
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()));
        let mut fitting: Vec<String> = names.filter(|name| name.replace('-', "_") == self.binary).collect();
        fitting.sort();
        fitting.pop().unwrap_or_else(|| self.binary.to_owned())
    }

    /// The file of this path, relative to the package or else to one of the folders around it.
    pub(crate) fn find(&self, path: &str) -> Result<PathBuf, String> {
        let folders: Vec<&Path> = Path::new(self.manifest_dir).ancestors().collect();
        let found = folders.iter().map(|folder| folder.join(path)).find(|file| file.exists());
        found.ok_or_else(|| format!("there is no `{path}` in {} or a folder around it", self.manifest_dir))
    }
}

#[cfg(test)]
mod tests {
    use super::TestPlace;

    const PLACE: TestPlace = TestPlace {
        manifest_dir: env!("CARGO_MANIFEST_DIR"),
        package: "orders",
        binary: "orders",
        program: None,
        integration: false,
        module: "orders::ledger::tests",
        name: "adds_up",
    };

    fn command(place: TestPlace) -> String {
        place.command(Some(7)).replace(" --release", "")
    }

    #[test]
    fn command_selects_the_test_program() {
        assert_eq!(
            command(PLACE),
            "BURNIN_SEED=7 cargo test -p orders --lib ledger::tests::adds_up -- --exact"
        );
        let program = TestPlace { program: Some("orders-server"), ..PLACE };
        assert!(command(program).contains(" --bin orders-server "));
        let integration =
            TestPlace { integration: true, binary: "no_such_file", module: "no_such_file", ..PLACE };
        assert!(command(integration).ends_with(" --test no_such_file adds_up -- --exact"));
    }

    #[test]
    fn file_is_found_in_the_package_or_around_it() {
        assert!(PLACE.find("src/place.rs").unwrap().ends_with("sim/harness/src/place.rs"));
        assert!(PLACE.find("scenarios/smoke").unwrap().ends_with("scenarios/smoke"));
        let error = PLACE.find("scenarios/smoke/kil-loop.toml").unwrap_err();
        assert!(
            error.contains("`scenarios/smoke/kil-loop.toml`") && error.contains("sim/harness"),
            "{error}"
        );
    }
}
