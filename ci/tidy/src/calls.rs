//! What code that runs under simulation must not call: each of these goes around the runtime, and a run that
//! does is no longer a function of its seed.

use crate::lex::{CodePath, generics};
use crate::source::{Finding, Source};

/// The folders whose code runs under simulation. `sim/harness` is not among them: it starts simulations, on
/// threads and with settings from the environment.
const SIMULATED: &[&str] = &[
    "runtime/src/",
    "runtime/conformance/",
    "broker/wire/",
    "broker/log/",
    "broker/core/",
    "broker/server/",
    "sim/engine/",
    "sim/faults/",
    "sim/cluster/",
    "workloads/",
];

/// A banned path, wherever it stands in a longer one; a `*` at its end stands for any ending of the name.
struct Ban {
    rule: &'static str,
    path: &'static str,
    instead: &'static str,
}

const fn ban(rule: &'static str, path: &'static str, instead: &'static str) -> Ban {
    Ban { rule, path, instead }
}

const SPAWN: &str = "use `runtime.spawn` and the handle's `Task`; `runtime.offload` for long computations";
const WATCH: &str =
    "it wakes receivers in an order of its own drawing; use the server's `watched`, or `tokio::sync::Notify`";
const CLOCK: &str = "use `runtime.now()`, `runtime.wall_ms()`, `runtime.sleep` or `burnin_runtime::timeout`";
const DISK: &str = "use `runtime.disk()`";
const NET: &str = "use `runtime.net()`";
const ENTROPY: &str = "use `runtime.entropy(label)`";
const HASH: &str = "use a BTreeMap, or `foldhash::fast::FixedState` as the hasher";
const PROCESS: &str = "the caller decides: pass it in, or return an error";

const BANS: &[Ban] = &[
    ban("tasks", "tokio::spawn", SPAWN),
    ban("tasks", "tokio::task", SPAWN),
    ban("tasks", "tokio::runtime", SPAWN),
    ban("tasks", "std::thread", SPAWN),
    ban("tasks", "thread::spawn", SPAWN),
    ban("tasks", "tokio::sync::watch", WATCH),
    ban("clock", "tokio::time", CLOCK),
    ban("clock", "std::time::Instant", CLOCK),
    ban("clock", "Instant::now", CLOCK),
    ban("clock", "SystemTime", CLOCK),
    ban("disk", "tokio::fs", DISK),
    ban("disk", "std::fs", DISK),
    ban("net", "tokio::net", NET),
    ban("net", "std::net::Tcp*", NET),
    ban("net", "std::net::Udp*", NET),
    ban("net", "std::net::ToSocketAddrs", NET),
    ban("entropy", "thread_rng", ENTROPY),
    ban("entropy", "ThreadRng", ENTROPY),
    ban("entropy", "rand::rng", ENTROPY),
    ban("entropy", "rand::random*", ENTROPY),
    ban("entropy", "getrandom", ENTROPY),
    ban("entropy", "OsRng", ENTROPY),
    ban("entropy", "SysRng", ENTROPY),
    ban("entropy", "from_os_rng", ENTROPY),
    ban("entropy", "from_entropy", ENTROPY),
    ban("entropy", "Uuid::new_v4", ENTROPY),
    ban("hash", "RandomState", HASH),
    ban("process", "std::process", PROCESS),
    ban("process", "std::env", PROCESS),
    ban("process", "tokio::process", PROCESS),
    ban("process", "tokio::signal", PROCESS),
];

/// Looks like one that is banned, and is not: whether this thread panics is known to `Drop` alone.
const FINE: &[&str] = &["std::thread::panicking"];

/// Banned calls in code that runs under simulation. Tests may do what they like around a simulation.
pub fn calls(source: &Source) -> Vec<Finding> {
    if !SIMULATED.iter().any(|folder| source.path().starts_with(folder)) {
        return Vec::new();
    }
    let code = source.code_paths().iter().filter(|path| !source.is_test(path.line));
    code.filter_map(|path| banned(source, path).or_else(|| hashed(source, path))).collect()
}

fn banned(source: &Source, path: &CodePath) -> Option<Finding> {
    let name = path.segments.join("::");
    if FINE.contains(&&*name) {
        return None;
    }
    let ban = BANS.iter().find(|ban| contains(&path.segments, ban.path))?;
    let (rule, instead) = (ban.rule, ban.instead);
    let escape = format!("(or say `// tidy: allow({rule}): why`)");
    source.finding(path.line, rule, format!("`{name}` goes around the runtime: {instead} {escape}"))
}

fn contains(segments: &[String], banned: &str) -> bool {
    let banned: Vec<_> = banned.split("::").collect();
    segments.windows(banned.len()).any(|part| {
        part.iter().zip(&banned).all(|(have, want)| match want.strip_suffix('*') {
            Some(beginning) => have.starts_with(beginning),
            None => have == want,
        })
    })
}

/// Standard maps and sets with the default hasher: a type that names no hasher, or one of the constructors
/// that exist for the default hasher only.
fn hashed(source: &Source, path: &CodePath) -> Option<Finding> {
    let at = path.segments.iter().position(|name| matches!(&**name, "HashMap" | "HashSet"))?;
    let name = &path.segments[at];
    let with_hasher = if name == "HashMap" { 3 } else { 2 };
    let constructor = path.segments.get(at + 1).map(String::as_str);
    let guilty = match constructor {
        Some("new" | "with_capacity" | "from") => true,
        Some(_) => false,
        None => {
            let tokens = source.tokens();
            let turbofish = usize::from(matches!(tokens.get(path.end), Some(t) if t.is(':')));
            let open = path.end + turbofish;
            let is_type = tokens.get(open).is_some_and(|token| token.is('<'));
            is_type && generics(tokens, open).is_some_and(|(count, _)| count < with_hasher)
        }
    };
    let message = || format!("`{name}` with the default hasher has another order in every process: {HASH}");
    guilty.then(|| source.finding(path.line, "hash", message())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(usize, &'static str)> {
        let source = Source::new("broker/log/src/writer.rs", text);
        calls(&source).into_iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn planted_calls_are_found() {
        for (text, rule) in [
            ("fn f() { tokio::spawn(async {}); }", "tasks"),
            ("fn f() { tokio::task::spawn_blocking(|| 1); }", "tasks"),
            ("use std::thread;", "tasks"),
            ("use std::{io, thread::spawn};", "tasks"),
            ("fn f() { ::std::thread::sleep(d); }", "tasks"),
            ("use tokio::time::sleep;", "clock"),
            ("use tokio::{sync::Notify, time};", "clock"),
            ("use std::time::{Duration, Instant};", "clock"),
            ("fn f() -> T { Instant::now() }", "clock"),
            ("fn f() { let t = std::time::SystemTime::now(); }", "clock"),
            ("use std::fs::File;", "disk"),
            ("fn f() { tokio::fs::read(p); }", "disk"),
            ("use std::{fs, io};", "disk"),
            ("use std::net::{SocketAddr, TcpStream};", "net"),
            ("use tokio::net::TcpListener;", "net"),
            ("fn f() { rand::thread_rng(); }", "entropy"),
            ("fn f() { let mut rng = rand::rng(); }", "entropy"),
            ("fn f() { rand::random_range(0..9); }", "entropy"),
            ("fn f() { getrandom::fill(&mut b); }", "entropy"),
            ("fn f() { Uuid::new_v4(); }", "entropy"),
            ("struct S { m: HashMap<u8, Vec<u8>> }", "hash"),
            ("struct S { m: std::collections::HashMap<u8, Vec<u8>> }", "hash"),
            ("fn f() { let m = HashMap::new(); }", "hash"),
            ("fn f() { let m = HashSet::with_capacity(9); }", "hash"),
            ("fn f() { let m = HashMap::<u8, u8>::from(a); }", "hash"),
            ("fn f() { i.collect::<HashSet<u8>>() }", "hash"),
            ("type M = HashMap<u8, u8, RandomState>;", "hash"),
            ("fn f() { std::env::var(\"HOME\"); }", "process"),
            ("fn f() { std::process::exit(1); }", "process"),
        ] {
            assert_eq!(rules(&format!("//! Doc.\n{text}")), [(2, rule)], "{text}");
        }
    }

    #[test]
    fn neighbours_of_banned_calls_are_not() {
        for text in [
            "use std::time::Duration; use std::net::{IpAddr, SocketAddr}; use tokio::sync::Notify;",
            "use burnin_runtime::{Instant, timeout}; fn f(now: Instant) -> Instant { now }",
            "use std::collections::HashMap; type M<K, V> = HashMap<K, V, FixedState>;",
            "fn f() { let m: HashSet<u8, FixedState> = HashSet::default(); }",
            "fn f() { HashMap::with_hasher(FixedState::default()) }",
            "fn f() { if !std::thread::panicking() { assert!(done) } }",
            "fn f() { tokio::select! { biased; a = b => {} } }",
            "// std::fs::read(path)\nfn f() { error(\"std::fs::read failed\") }",
            "#[cfg(test)]\nmod tests { use std::fs; }",
            "fn f() { self.thread_rng_label; spawn(x) }",
        ] {
            assert_eq!(rules(text), [], "{text}");
        }
    }

    #[test]
    fn escape_silences_one_line() {
        let text = "// tidy: allow(disk): the reason\nuse std::fs;\nuse std::fs::File;";
        assert_eq!(rules(text), [(3, "disk")]);
    }

    #[test]
    fn programs_and_tests_are_free() {
        let text = "use std::fs; fn f() { tokio::spawn(x); }";
        for path in
            ["cli/src/main.rs", "runtime/tokio/src/lib.rs", "broker/src/main.rs", "sim/engine/tests/a.rs"]
        {
            assert_eq!(calls(&Source::new(path, text)), [], "{path}");
        }
        assert_eq!(calls(&Source::new("sim/engine/src/lib.rs", text)).len(), 2);
    }
}
