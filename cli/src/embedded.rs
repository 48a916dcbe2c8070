//! The scenario that is in the program itself, so that `burnin sweep` does its main job in any directory: the standard
//! replicated cluster. It is meant by its bare name, unless a file has that name.

use std::path::Path;

/// Its name, which stands where a file's path would.
pub const NAME: &str = "replicated-cluster";

const TEXT: &str = include_str!("../../scenarios/smoke/replicated-cluster.toml");

/// Its text, when the path means it.
pub fn text(path: &Path) -> Option<&'static str> {
    (path == Path::new(NAME) && !path.exists()).then_some(TEXT)
}
