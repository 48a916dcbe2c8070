//! How far a long work is: a bar on a terminal, a plain line every ten seconds elsewhere.

use crate::output::Output;
use burnin_report::duration;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    started: Instant,
    last_line: Instant,
    unit: &'static str,
}

impl Progress {
    /// Of `unit` things (runs, seeds); drawn as `output` allows.
    pub fn new(output: &Output, unit: &'static str) -> Progress {
        let bar = (output.terminal && !output.quiet).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            let template = if output.color { "{bar:24.cyan/dim} {msg}" } else { "{bar:24} {msg}" };
            bar.set_style(
                ProgressStyle::with_template(template).expect("a valid template").progress_chars("━━─"),
            );
            bar
        });
        let now = Instant::now();
        Progress { bar, lines: !output.quiet && !output.terminal, started: now, last_line: now, unit }
    }

    /// Wall-clock time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// So many are done of so many (none: nobody knows), with so much simulated time and so many failures.
    pub fn show(&mut self, done: u64, total: Option<u64>, simulated_ns: u64, failures: u64) {
        if self.bar.is_none() && !(self.lines && self.last_line.elapsed() >= LINE_EVERY) {
            return;
        }
        let line = self.line(done, total, simulated_ns, failures);
        match &self.bar {
            Some(bar) => {
                if let Some(total) = total {
                    bar.set_length(total);
                }
                bar.set_position(done);
                bar.set_message(line);
            }
            None => {
                self.last_line = Instant::now();
                eprintln!("burnin: {line}");
            }
        }
    }

    fn line(&self, done: u64, total: Option<u64>, simulated_ns: u64, failures: u64) -> String {
        let wall = self.started.elapsed();
        let seconds = wall.as_secs_f64().max(0.001);
        let rate = done as f64 / seconds;
        let of = total.map_or(String::new(), |total| format!(" of {total}"));
        let speed = simulated_ns as f64 / 1e9 / seconds;
        let eta = match total {
            Some(total) if rate > 0.0 && total > done => {
                let left = (total - done) as f64 / rate;
                format!(" · {} left", duration((left * 1e9) as u64))
            }
            _ => String::new(),
        };
        let failures = if failures == 1 { "1 failure".to_owned() } else { format!("{failures} failures") };
        format!("{done}{of} {} · {rate:.0}/s · {speed:.0} times real time · {failures}{eta}", self.unit)
    }

    /// Prints a line above the bar.
    pub fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
