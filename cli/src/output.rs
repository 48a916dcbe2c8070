//! What people and machines read: text on standard error and results on standard output, in the chosen
//! format.

use crate::args::{Color, Format, Global};
use burnin_report::{ExitCode, Paint};
use serde::Serialize;
use std::fmt;
use std::io::{IsTerminal, Write};

/// A reason to end early, with the exit code that fits.
#[derive(Debug)]
pub struct Stop {
    /// The exit code.
    pub code: ExitCode,
    /// What is wrong: lower case, with the value and the choices. May have several lines.
    pub message: String,
}

impl Stop {
    /// A mistake on the command line or in a scenario.
    pub fn usage(message: impl fmt::Display) -> Stop {
        Stop { code: ExitCode::Usage, message: message.to_string() }
    }

    /// Something of the machine is missing.
    pub fn environment(message: impl fmt::Display) -> Stop {
        Stop { code: ExitCode::Environment, message: message.to_string() }
    }

    /// A mistake in burnin.
    pub fn internal(message: impl fmt::Display) -> Stop {
        Stop { code: ExitCode::Internal, message: message.to_string() }
    }
}

/// Where things are printed, and how.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The format of results.
    pub format: Format,
    /// Whether text is coloured.
    pub color: bool,
    /// Only results.
    pub quiet: bool,
    /// How much more than usual.
    pub verbose: u8,
    /// Whether standard error is a terminal, so that a line can be drawn over.
    pub terminal: bool,
}

impl Output {
    /// As the flags and the environment say.
    pub fn new(global: &Global) -> Output {
        let terminal = std::io::stderr().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        Output { format: global.format, color, quiet: global.quiet, verbose: global.verbose, terminal }
    }

    /// Whether text for people may carry colours.
    pub fn paint(&self) -> Paint {
        if self.color { Paint::Ansi } else { Paint::Plain }
    }

    /// A line for people, on standard error; not when quiet.
    pub fn say(&self, line: impl fmt::Display) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// A line for people that is said also when quiet: the first line of a run, and failures.
    pub fn insist(&self, line: impl fmt::Display) {
        eprintln!("{line}");
    }

    /// A result for people, on standard output; other formats print theirs with [`Output::document`].
    pub fn result(&self, text: impl fmt::Display) {
        if self.format == Format::Text {
            print_line(&text.to_string());
        }
    }

    /// The result as a whole: printed for `json`, and as the last line for `jsonl`.
    pub fn document(&self, value: &impl Serialize) {
        match self.format {
            Format::Text => {}
            Format::Json => print_line(&serde_json::to_string_pretty(value).expect("plain data")),
            Format::Jsonl => print_line(&serde_json::to_string(value).expect("plain data")),
        }
    }

    /// Something that happened on the way: a line for `jsonl` only.
    pub fn event(&self, value: &impl Serialize) {
        if self.format == Format::Jsonl {
            print_line(&serde_json::to_string(value).expect("plain data"));
        }
    }

    /// Why it ends early.
    pub fn stop(&self, stop: &Stop) {
        if self.format != Format::Text {
            self.document(&serde_json::json!({ "error": stop.message, "exit_code": stop.code.code() }));
        }
        let (red, plain) = if self.color { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
        eprintln!("{red}error{plain}: {}", stop.message.trim_end());
    }
}

/// Prints to standard output; a reader that went away is not our error.
fn print_line(text: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe (`burnin ... | head`) ends the output, not the work.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}
