//! Which build produced a report: a seed means the same only in the same build.

use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The workspace's version.
    pub version: String,
    /// The git commit, `unknown` unless `BURNIN_COMMIT` was set when it was built.
    pub commit: String,
    /// The compiler's version.
    pub rustc: String,
    /// `x86_64-linux`, ...
    pub platform: String,
}

impl Build {
    /// This build.
    pub fn current() -> Build {
        Build {
            version: env!("CARGO_PKG_VERSION").to_string(),
            commit: option_env!("BURNIN_COMMIT").unwrap_or("unknown").to_string(),
            rustc: env!("BURNIN_RUSTC").to_string(),
            platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Build { version, commit, rustc, platform } = self;
        write!(f, "burnin {version} · git {commit} · rustc {rustc} · {platform}")
    }
}
