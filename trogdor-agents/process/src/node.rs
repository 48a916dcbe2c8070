//! One broker process: how it is started, told things by signals, and watched until it ends.
//!
//! Can: kill (SIGKILL: its page cache stays with the kernel), stop in order (SIGTERM; killed when that takes too
//! long), pause and resume (SIGSTOP, SIGCONT).
//! Never: signals a process that was not started here, or one that has ended: a child's id is kept only until
//! it is waited for, and both happen on one thread.

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Notify;

/// How long a broker may take to stop in order before it is killed, as service managers do.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// How much of a process's output is quoted when it ended by itself.
const LAST_WORDS_BYTES: u64 = 2048;

/// What `burnin-broker` exits with when it panicked.
const PANICKED: i32 = 1;

/// How a process was told to stop, and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// As it should.
    InOrder,
    /// It did not in time, and was killed.
    Killed,
}

/// A process that ended although nobody told it to.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    /// Whose.
    pub node: String,
    /// Whether it is the process's own fault: it panicked, or a signal that nobody here sent ended it.
    pub crash: bool,
    /// How it ended, with its last words.
    pub words: String,
}

/// Where the first death of a run is put, and who waits for one.
#[derive(Default)]
pub(crate) struct Deaths {
    first: Mutex<Option<Death>>,
    told: Notify,
}

impl Deaths {
    fn report(&self, death: Death) {
        self.first.lock().get_or_insert(death);
        self.told.notify_one();
    }

    /// Completes when a process has ended that nobody told to.
    pub async fn first(&self) -> Death {
        loop {
            if let Some(death) = self.first.lock().clone() {
                return death;
            }
            self.told.notified().await;
        }
    }
}

/// See the module.
pub(crate) struct Node {
    /// As reports name it: `broker-1`.
    pub name: String,
    program: PathBuf,
    properties: PathBuf,
    output: PathBuf,
    life: Arc<Mutex<Life>>,
    ended: Arc<Notify>,
    deaths: Arc<Deaths>,
}

#[derive(Default)]
struct Life {
    /// There from the start until it was waited for.
    pid: Option<Pid>,
    paused: bool,
    /// It was told to end.
    told: bool,
    /// How it ended the last time.
    status: Option<ExitStatus>,
}

impl Node {
    /// A node that does not run yet.
    pub fn new(
        name: String,
        program: &Path,
        properties: PathBuf,
        output: PathBuf,
        deaths: Arc<Deaths>,
    ) -> Node {
        let program = program.to_owned();
        Node { name, program, properties, output, life: Arc::default(), ended: Arc::default(), deaths }
    }

    /// Whether its process is there, paused or not.
    pub fn is_up(&self) -> bool {
        self.life.lock().pid.is_some()
    }

    /// Whether its process stands still.
    pub fn is_paused(&self) -> bool {
        self.life.lock().paused
    }

    /// Starts it. It is a group of its own, so that a terminal's Ctrl-C does not reach it.
    pub fn start(&self) -> Result<(), String> {
        assert!(!self.is_up(), "{} is started twice", self.name);
        let failed = |what: &str, error: std::io::Error| format!("{what} {}: {error}", self.name);
        let output = File::options()
            .create(true)
            .append(true)
            .open(&self.output)
            .map_err(|error| failed("cannot open the output of", error))?;
        let copy = output.try_clone().map_err(|error| failed("cannot open the output of", error))?;
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(&self.properties)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(copy)
            .process_group(0)
            .kill_on_drop(true);
        leash(&mut command);
        let mut child = command.spawn().map_err(|error| failed("cannot start", error))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32)).expect("it was not waited for yet");
        *self.life.lock() = Life { pid: Some(pid), ..Life::default() };
        let (life, ended, deaths) = (self.life.clone(), self.ended.clone(), self.deaths.clone());
        let (name, output) = (self.name.clone(), self.output.clone());
        tokio::spawn(async move {
            let status = child.wait().await.expect("a child can be waited for");
            let told = {
                let mut life = life.lock();
                life.pid = None;
                life.paused = false;
                life.status = Some(status);
                life.told
            };
            ended.notify_waiters();
            let failed_to_stop = told && status.code() == Some(PANICKED);
            if !told || failed_to_stop {
                let crash = status.code().is_none_or(|code| code == PANICKED);
                let words = format!("ended with {}: {}", how(status), last_words(&output));
                deaths.report(Death { node: name, crash, words });
            }
        });
        Ok(())
    }

    /// SIGKILL. Completes when the process is gone.
    pub async fn kill(&self) -> Result<(), String> {
        self.tell(Signal::KILL)?;
        self.gone().await;
        Ok(())
    }

    /// SIGTERM, and SIGKILL when that takes too long. Completes when the process is gone.
    pub async fn stop(&self) -> Result<Stopped, String> {
        self.tell(Signal::TERM)?;
        if tokio::time::timeout(STOP_GRACE, self.gone()).await.is_err() {
            self.kill().await?;
            return Ok(Stopped::Killed);
        }
        let status = self.life.lock().status.expect("it is gone");
        match status.code() {
            Some(0) => Ok(Stopped::InOrder),
            _ => Ok(Stopped::Killed),
        }
    }

    /// SIGSTOP.
    pub fn pause(&self) -> Result<(), String> {
        self.signal(Signal::STOP)?;
        self.life.lock().paused = true;
        Ok(())
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), String> {
        self.signal(Signal::CONT)?;
        self.life.lock().paused = false;
        Ok(())
    }

    /// Why it is down, when it ended by itself.
    pub fn obituary(&self) -> Option<String> {
        let life = self.life.lock();
        let status = life.status.filter(|_| life.pid.is_none() && !life.told)?;
        Some(format!("{} ended with {}", self.name, how(status)))
    }

    /// A signal that is to end it.
    fn tell(&self, signal: Signal) -> Result<(), String> {
        self.signal(signal)?;
        self.life.lock().told = true;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = self.life.lock().pid.ok_or_else(|| format!("{} does not run", self.name))?;
        kill_process(pid, signal).map_err(|error| format!("{signal:?} to {}: {error}", self.name))
    }

    async fn gone(&self) {
        loop {
            let ended = self.ended.notified();
            if !self.is_up() {
                return;
            }
            ended.await;
        }
    }
}

/// Formats a node's directory for a quorum that begins with these voters.
pub fn format(program: &Path, properties: &Path, voters: &[String]) -> Result<(), String> {
    let mut command = std::process::Command::new(program);
    command.arg("format").arg("--config").arg(properties).arg("--initial-controllers").arg(voters.join(","));
    let output = command.output().map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("cannot format: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Has the kernel kill the child when the thread that starts it is gone, however that ends.
#[expect(unsafe_code, reason = "only between fork and exec can a process ask for its parent's death signal")]
fn leash(command: &mut Command) {
    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have gone before it was asked for.
        if rustix::process::getppid() != Some(parent) {
            return Err(std::io::Error::other("its parent is gone"));
        }
        Ok(())
    };
    // SAFETY: the closure makes two system calls and allocates nothing unless the process is about to end.
    unsafe { command.pre_exec(ask) };
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The end of a process's output.
fn last_words(output: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(output)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(end)
    };
    match read() {
        Ok(end) => String::from_utf8_lossy(&end).trim().to_owned(),
        Err(error) => format!("its output cannot be read: {error}"),
    }
}
