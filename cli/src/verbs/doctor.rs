//! `burnin doctor`: what this machine has, and what that allows.

use crate::args::{DoctorArgs, Format};
use crate::interrupt::runtime;
use crate::output::{Output, Stop};
use crate::pool::Worker;
use crate::verbs::sweep::cores;
use burnin_report::{Build, ExitCode};
use burnin_scenario::Dur;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// How many fsyncs are timed.
const SYNCS: usize = 20;

/// One thing that was looked at.
struct Finding {
    name: &'static str,
    /// `None` when it is only worth knowing.
    ok: Option<bool>,
    text: String,
}

/// See the module.
pub fn doctor(args: &DoctorArgs, output: &Output) -> Result<ExitCode, Stop> {
    let mut findings = vec![
        Finding { name: "build", ok: None, text: Build::current().to_string() },
        Finding { name: "cores", ok: None, text: cores().to_string() },
        Finding { name: "memory", ok: None, text: memory() },
        Finding { name: "kernel", ok: None, text: kernel() },
    ];
    findings.push(workers());
    findings.push(report_directory(&args.report));
    findings.push(fsync(&args.report));
    findings.push(open_files());
    findings.extend(TOOLS.map(|(tool, why)| Finding { name: tool, ok: None, text: tool_at(tool, why) }));

    for finding in &findings {
        let mark = match finding.ok {
            Some(true) => output.paint().good("ok  "),
            Some(false) => output.paint().bad("FAIL"),
            None => "    ".to_owned(),
        };
        output.result(format!("{mark} {:<16} {}", finding.name, finding.text));
        output.event(&json!({ "name": finding.name, "ok": finding.ok, "text": finding.text }));
    }
    if output.format == Format::Json {
        let list: Vec<Value> =
            findings.iter().map(|f| json!({ "name": f.name, "ok": f.ok, "text": f.text })).collect();
        output.document(&list);
    }
    let healthy = findings.iter().all(|finding| finding.ok != Some(false));
    output.result(if healthy { "simulations run here" } else { "simulations do not run here: see FAIL" });
    Ok(if healthy { ExitCode::Pass } else { ExitCode::Environment })
}

/// Programs that tests against real clients and clusters use; simulations need none of them.
const TOOLS: [(&str, &str); 4] = [
    ("java", "for Apache Kafka and its tools"),
    ("python3", "for the interop scripts"),
    ("node", "for kafkajs"),
    ("kcat", "for looking around"),
];

fn tool_at(tool: &str, why: &str) -> String {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file())
    });
    match found {
        Some(path) => format!("{} ({why})", path.display()),
        None => format!("not found ({why}; simulations do not need it)"),
    }
}

fn memory() -> String {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    match (field("MemTotal:"), field("MemAvailable:")) {
        (Some(total), Some(free)) => format!("{} MiB, {} MiB of it available", total / 1024, free / 1024),
        _ => "unknown".to_owned(),
    }
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, release.trim())
}

fn open_files() -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = limit.and_then(|line| line.split_whitespace().nth(3)).unwrap_or("unknown");
    Finding {
        name: "open files",
        ok: soft.parse::<u64>().ok().map(|soft| soft >= 256),
        text: format!("at most {soft}"),
    }
}

/// Whether a worker process starts and ends.
fn workers() -> Finding {
    let started = Instant::now();
    let tried = runtime().and_then(|runtime| runtime.block_on(Worker::new(Dur::from_secs(10)).try_out()));
    match tried {
        Ok(()) => {
            let took = started.elapsed().as_millis();
            Finding { name: "worker process", ok: Some(true), text: format!("starts and stops in {took} ms") }
        }
        Err(stop) => Finding { name: "worker process", ok: Some(false), text: stop.message },
    }
}

/// Whether run directories can be made.
fn report_directory(path: &Path) -> Finding {
    let tried = std::fs::create_dir_all(path).and_then(|()| {
        let probe = path.join(".doctor");
        File::create(&probe)?.write_all(b"x")?;
        std::fs::remove_file(&probe)
    });
    match tried {
        Ok(()) => Finding {
            name: "run directories",
            ok: Some(true),
            text: format!("{} can be written", path.display()),
        },
        Err(error) => Finding {
            name: "run directories",
            ok: Some(false),
            text: format!("{}: {error} (--report DIR)", path.display()),
        },
    }
}

/// How long an fsync takes here: simulations do not care, a real broker does.
fn fsync(path: &Path) -> Finding {
    let probe = path.join(".doctor-fsync");
    let tried = File::create(&probe).and_then(|mut file| {
        let mut times = Vec::new();
        for _ in 0..SYNCS {
            file.write_all(&[0; 4096])?;
            let started = Instant::now();
            file.sync_data()?;
            times.push(started.elapsed());
        }
        times.sort();
        Ok(times)
    });
    // The probe may not exist when the directory cannot be written.
    let _ = std::fs::remove_file(&probe);
    match tried {
        Ok(times) => {
            let (median, worst) = (times[SYNCS / 2].as_micros(), times[SYNCS - 1].as_micros());
            Finding {
                name: "fsync",
                ok: None,
                text: format!("median {median} µs, worst {worst} µs of {SYNCS}"),
            }
        }
        Err(error) => Finding { name: "fsync", ok: None, text: error.to_string() },
    }
}
