//! Tasks. The contract:
//! - dropping the handle aborts the task; [`Task::detach`] lets it run on;
//! - an abort takes effect at the task's next suspension point, and the future is dropped there;
//! - a panic in a task is reported to whoever awaits the handle as [`TaskError::Panicked`]; in a simulation
//!   it also fails the run (a panic in the system under test is a finding, never noise);
//! - when a node is killed, all of its tasks are dropped at once and none of their code runs except `Drop`.

use std::fmt;
use std::future::Future;

/// A handle of a spawned future: a future of its output.
pub trait Task<T>: Future<Output = Result<T, TaskError>> + Send + Sync + Unpin + 'static {
    /// Stops the task at its next suspension point. Does nothing when it has ended.
    fn abort(&self);
    /// Lets the task run on without a handle.
    fn detach(self);
    /// Whether the task has ended (with an output, a panic or an abort).
    fn is_finished(&self) -> bool;
}

/// Why a task gave no output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskError {
    /// It was aborted, or its node was killed.
    Aborted,
    /// It panicked, with this message.
    Panicked(String),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Aborted => write!(f, "the task was aborted"),
            TaskError::Panicked(message) => write!(f, "the task panicked: {message}"),
        }
    }
}

impl std::error::Error for TaskError {}
