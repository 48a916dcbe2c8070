//! The error of a test: any error, by `?`, or words.

use std::fmt;

/// What a test returns.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a test does not accept what it saw. Every error turns into one with `?`; it is no error itself, so that
/// this conversion can exist.
pub struct Failure(String);

impl Failure {
    /// With these words.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure(message.into())
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Failure(message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
