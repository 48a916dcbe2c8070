//! Tells the crate which compiler builds it. The commit comes from `BURNIN_COMMIT`, which CI and release builds set:
//! a commit that a build script asked git for would go stale without anybody noticing.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_string());
    let version = Command::new(rustc).arg("--version").output().ok().and_then(|output| {
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.split_whitespace().nth(1)?.to_string())
    });
    println!("cargo:rustc-env=BURNIN_RUSTC={}", version.unwrap_or_else(|| "unknown".to_string()));
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BURNIN_COMMIT");
}
