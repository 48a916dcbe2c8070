//! Worker processes. A job goes in, an outcome comes out; a process that dies or takes too long is an
//! outcome as well, and the next job gets a new process.

use crate::exec::{Job, Outcome, Place};
use crate::limit;
use crate::output::Stop;
use burnin_report::Class;
use burnin_scenario::Dur;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

/// How much of a dying worker's last words is kept.
const LAST_WORDS_BYTES: usize = 4096;

/// Has the allocator keep what a run gives back: the next run needs it again, and getting it back from the kernel, as
/// empty pages, was a twelfth of a worker's time.
const KEEP_MEMORY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "-1");

/// How long a worker may take to end the processes that it started.
const TIDY_UP: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// A worker process, started when it is first needed.
#[derive(Debug)]
pub struct Worker {
    process: Option<Process>,
    /// Whether it starts processes of its own.
    starts_processes: bool,
    run_limit: Dur,
}

#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    errors: JoinHandle<String>,
}

impl Worker {
    /// A worker whose runs may take so long.
    pub fn new(run_limit: Dur) -> Worker {
        Worker { process: None, starts_processes: false, run_limit }
    }

    /// Runs a job. Only a machine on which no process can be started gives an error.
    pub async fn run(&mut self, job: &Job) -> Result<Outcome, Stop> {
        self.starts_processes = matches!(job.place, Place::Process { .. });
        if self.process.is_none() {
            self.process = Some(Process::start(self.starts_processes)?);
        }
        let process = self.process.as_mut().expect("just started");
        let pid = process.child.id();
        let answer = tokio::select! {
            biased;
            answer = process.ask(job) => Ok(answer),
            why = limit::reached(job, pid, self.run_limit) => Err(why),
        };
        match answer {
            Ok(Some(outcome)) => Ok(outcome),
            Ok(None) => {
                let process = self.process.take().expect("it was asked");
                Ok(job.report(Class::Crash, "process-died", process.last_words().await).into())
            }
            Err(why) => {
                self.leave();
                Ok(job.report(Class::Unknown, "run-limit", format!("{why} (--run-limit)")).into())
            }
        }
    }
}

impl Worker {
    /// Starts a process and lets it end, to see whether that works here.
    pub async fn try_out(&mut self) -> Result<(), Stop> {
        let Process { mut child, input, errors, .. } = Process::start(self.starts_processes)?;
        drop(input);
        let status = child
            .wait()
            .await
            .map_err(|error| Stop::environment(format!("waiting for a worker: {error}")))?;
        let words = errors.await.unwrap_or_default();
        if status.success() {
            Ok(())
        } else {
            Err(Stop::environment(format!("a worker ended with {status}: {words}")))
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Worker {
    /// Lets the process go: at once, or when it runs others, with a moment to end them and to tidy up.
    fn leave(&mut self) {
        let Some(Process { mut child, input, .. }) = self.process.take() else { return };
        drop(input);
        let mut left = if self.starts_processes { TIDY_UP } else { Duration::ZERO };
        while !left.is_zero() && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK.min(left));
            left = left.saturating_sub(LOOK);
        }
    }
}

/// Runs one job in a process of its own.
pub async fn run_fresh(job: &Job, run_limit: Dur) -> Result<Outcome, Stop> {
    Worker::new(run_limit).run(job).await
}

impl Process {
    /// Starts a worker in a process group of its own, so that Ctrl-C reaches only us; it dies with us.
    fn start(starts_processes: bool) -> Result<Process, Stop> {
        let program = std::env::current_exe()
            .map_err(|error| Stop::environment(format!("the program does not find itself: {error}")))?;
        let mut command = Command::new(&program);
        // Brokers that a worker starts would inherit it, and are to run as they do anywhere.
        if !starts_processes && std::env::var_os(KEEP_MEMORY.0).is_none() {
            command.env(KEEP_MEMORY.0, KEEP_MEMORY.1);
        }
        let mut child = command
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Stop::environment(format!("no worker process `{} worker`: {error}", program.display()))
            })?;
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut stderr = child.stderr.take().expect("piped");
        let errors = tokio::spawn(async move {
            let mut kept = Vec::new();
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
                kept.extend_from_slice(&buffer[..count]);
                let surplus = kept.len().saturating_sub(LAST_WORDS_BYTES);
                kept.drain(..surplus);
            }
            String::from_utf8_lossy(&kept).trim().to_owned()
        });
        Ok(Process { child, input, output, errors })
    }

    /// `None` when the process died instead of answering.
    async fn ask(&mut self, job: &Job) -> Option<Outcome> {
        let mut line = serde_json::to_string(job).expect("a job is plain data");
        line.push('\n');
        self.input.write_all(line.as_bytes()).await.ok()?;
        let answer = self.output.next_line().await.ok()??;
        serde_json::from_str(&answer).ok()
    }

    /// How it died, and what it said.
    async fn last_words(mut self) -> String {
        drop(self.input);
        let status =
            self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        let words = self.errors.await.unwrap_or_default();
        let said = if words.is_empty() { String::new() } else { format!("; its last words: {words}") };
        format!("the process that ran it died ({status}){said}")
    }
}
