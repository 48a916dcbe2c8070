//! The program as its users meet it: what it prints, its exit codes, signals, and data that outlives it.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests meet the program from the outside"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

struct Process {
    child: Child,
    address: SocketAddr,
    greeting: Vec<String>,
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burnin-broker"));
    command.args(arguments).current_dir(directory).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Process {
    fn start(directory: &Path, arguments: &[&str]) -> Process {
        let mut child = command(directory, arguments).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = Vec::new();
        for _ in 0..3 {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            greeting.push(line.trim_end().to_owned());
        }
        let address = greeting[0].split_whitespace().nth(3).unwrap_or_default().trim_end_matches(',');
        let address = address.parse().unwrap_or_else(|_| panic!("no address in {greeting:?}"));
        Process { child, address, greeting }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    fn end(mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a Metadata v1 request that names a topic and gives how many topics without error came back.
    fn topics(&self, name: &str) -> usize {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut body = vec![0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff];
        match name {
            "" => body.extend((-1_i32).to_be_bytes()),
            name => {
                body.extend(1_i32.to_be_bytes());
                body.extend((name.len() as i16).to_be_bytes());
                body.extend(name.as_bytes());
            }
        }
        stream.write_all(&(body.len() as i32).to_be_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; i32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        // Correlation id, brokers (id, host, port, rack), controller id, then the topics.
        let host = 8 + 4;
        let host_length = i16::from_be_bytes([answer[host], answer[host + 1]]) as usize;
        let topics = host + 2 + host_length + 4 + 2 + 4;
        i32::from_be_bytes(answer[topics..topics + 4].try_into().unwrap()) as usize
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refused(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let output = command(directory, arguments).output().unwrap();
    assert!(output.stdout.is_empty(), "nothing but errors is printed");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn without_arguments_it_says_where_it_is_and_what_to_paste() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path(), &["--port", "0"]);
    let [first, produce, consume] = &process.greeting[..] else { panic!("{:?}", process.greeting) };
    assert!(process.address.ip().is_loopback());
    let data = dir.path().join("burnin-data");
    assert!(first.contains(&format!("data in {}", data.display())), "{first}");
    assert!(data.join("meta.properties").exists());
    assert!(produce.contains(&format!("kcat -b {} -t test -P", process.address)), "{produce}");
    assert!(consume.contains(&format!("kcat -b {} -t test -C", process.address)), "{consume}");
    assert_eq!(process.topics(""), 0);
}

#[test]
fn a_signal_stops_it_in_order_and_a_restart_keeps_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    for (round, signal) in ["TERM", "INT", "KILL"].into_iter().enumerate() {
        let process = Process::start(dir.path(), &["--port", "0"]);
        assert_eq!(process.topics(""), round);
        assert_eq!(process.topics(&format!("topic-{round}")), 1);
        process.signal(signal);
        let status = process.end();
        let marker = dir.path().join("burnin-data/.kafka_cleanshutdown").exists();
        assert_eq!((status.code(), marker), if signal == "KILL" { (None, false) } else { (Some(0), true) });
    }
    assert_eq!(Process::start(dir.path(), &["--port", "0"]).topics(""), 3);
}

#[test]
fn wrong_settings_end_with_2_and_name_the_choices() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.properties");
    std::fs::write(&file, "node.id=1\nlog.retention.hour=5\n").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, hint) in [
        (&["--config", file][..], "nearest known: log.retention.hours"),
        (&["--config", "nowhere.properties"], "nowhere.properties"),
        (&["--override", "num.partitions=many"], "expected a 32-bit number, at least 1"),
        (&["--override", "listeners=SSL://:9093"], "PLAINTEXT"),
        (&["--override", "ssl.keystore.location=x"], "TLS is not built in yet"),
        (&["--nonsense"], "--nonsense"),
        (&["--port", "99999"], "99999"),
    ] {
        let (code, text) = refused(dir.path(), arguments);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(hint), "{text}");
    }
    assert!(!dir.path().join("burnin-data").exists(), "nothing was touched");
}

#[test]
fn what_the_machine_does_not_give_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path(), &["--port", "0"]);
    let port = process.address.port().to_string();
    let (code, text) = refused(dir.path(), &["--port", &port, "--data", "elsewhere"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("the port is in use") && text.contains(&port), "{text}");
    assert!(!dir.path().join("elsewhere").exists(), "the port is tried before anything is written");
    let (code, text) = refused(dir.path(), &["--port", "0"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("another process uses this log directory"), "{text}");
    let (code, text) = refused(dir.path(), &["--port", "0", "--override", "node.id=2"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("belongs to node.id `1`"), "{text}");
    std::fs::write(dir.path().join("file"), "").unwrap();
    let (code, text) = refused(dir.path(), &["--port", "0", "--data", "file/data"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("file/data"), "{text}");
    assert_eq!(process.topics("t"), 1, "the first one is unharmed");
}

#[test]
fn the_only_voter_formats_its_own_directory() {
    let dir = tempfile::tempdir().unwrap();
    let controller = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let properties = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{controller}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\nlog.dirs=data\n"
    );
    std::fs::write(dir.path().join("node.properties"), properties).unwrap();
    let process = Process::start(dir.path(), &["--config", "node.properties"]);
    assert_eq!(process.topics("a"), 1);
    process.signal("TERM");
    assert_eq!(process.end().code(), Some(0));
}

#[test]
fn directories_are_formatted_for_voters_that_stand_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let properties = format!(
        "node.id=1\ncontroller.listener.names=CONTROLLER\nlog.dirs=data\n\
         listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{free}\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{free}\n"
    );
    std::fs::write(dir.path().join("node.properties"), &properties).unwrap();
    let with = |more: &[&'static str]| {
        let base = ["format", "--config", "node.properties", "--cluster-id", "one"];
        base.into_iter().chain(more.iter().copied()).collect::<Vec<_>>()
    };
    let (code, why) = refused(dir.path(), &with(&[]));
    assert!(code == 3 && why.contains("--no-initial-controllers"), "{code}: {why}");
    let (code, why) = refused(dir.path(), &with(&["--add", "1@127.0.0.1:9093"]));
    assert!(code == 2 && why.contains("id@host:port:directory"), "{code}: {why}");
    let formatted = command(dir.path(), &with(&["--standalone"])).output().unwrap();
    assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
    let bootstrap = "data/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";
    assert!(dir.path().join(bootstrap).exists());
    for round in 0..2 {
        let process = Process::start(dir.path(), &["--config", "node.properties"]);
        assert_eq!(process.topics(&format!("topic-{round}")), 1);
        process.signal("TERM");
        assert_eq!(process.end().code(), Some(0));
    }
    let id = command(dir.path(), &["random-uuid"]).output().unwrap().stdout;
    assert_eq!(String::from_utf8(id).unwrap().trim().len(), 22);
}

/// No property and no variable reaches the planted bugs: the program does not even contain their names.
#[test]
fn planted_bugs_cannot_be_armed() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_burnin-broker")).unwrap();
    for summary in ["acknowledges before the fsync although", "retries a failed fsync until it returns Ok"] {
        let found = program.windows(summary.len()).any(|window| window == summary.as_bytes());
        assert!(!found, "the program knows of the mutant that {summary}");
    }
    let dir = tempfile::tempdir().unwrap();
    for property in ["mutant=S01", "burnin.mutant=S01", "mutants=S01"] {
        let (code, text) = refused(dir.path(), &["--override", property]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("unknown property"), "{text}");
    }
}

#[test]
fn the_first_answer_comes_soon_and_idling_costs_little() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let process = Process::start(dir.path(), &["--port", "0"]);
    process.topics("");
    let first_answer = began.elapsed();
    // Far above what is measured (about 10 ms): other tests run beside this one.
    assert!(first_answer < Duration::from_secs(2), "{first_answer:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id()));
    if let Ok(status) = status {
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kilobytes < 30_000, "{line}");
    }
}
