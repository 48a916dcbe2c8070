//! What is wrong with a file: each problem with its place, the value and the choices; all of them at once.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, NamedSource, SourceSpan};
use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What: lower case, with the value and the choices.
    pub message: String,
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// What to do about it, when that is not plain from the message.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at `span`.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Problem { message: message.into(), span, help: None }
    }

    /// The same with advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        let span = SourceSpan::from(self.span.clone());
        Some(Box::new(std::iter::once(miette::LabeledSpan::new_primary_with_span(None, span))))
    }
}

/// Everything that is wrong with a file. Prints one line per problem, `file:line:column: message`; as a
/// [`Diagnostic`] it shows the lines of the file as well.
#[derive(Debug)]
pub struct Problems {
    source: NamedSource<String>,
    problems: Vec<Problem>,
}

impl Problems {
    /// Of the file `name` with this content. Panics when there is no problem.
    pub fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        assert!(!problems.is_empty(), "no problem in {name}");
        problems.sort_by_key(|problem| problem.span.start);
        problems.dedup();
        Problems { source: NamedSource::new(name, text.to_owned()).with_language("TOML"), problems }
    }

    /// A file that cannot be read at all.
    pub fn unreadable(name: &str, error: impl fmt::Display) -> Self {
        Problems::new(name, "", vec![Problem::new(0..0, format!("cannot be read: {error}"))])
    }

    /// The problems, in the order of the file.
    pub fn list(&self) -> &[Problem] {
        &self.problems
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// Every problem with the lines of the file around it, for people.
    pub fn render(&self, width: usize, color: bool) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width);
        let mut shown = String::new();
        for problem in &self.problems {
            let place = InPlace { problem, file: &self.source };
            handler.render_report(&mut shown, &place).expect("writing to a string");
        }
        shown
    }

    /// Line and column of a problem, both from 1.
    pub fn place(&self, problem: &Problem) -> (usize, usize) {
        let text = self.source.inner();
        let before = &text[..problem.span.start.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            let (line, column) = self.place(problem);
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}:{column}: {}", self.file(), problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

/// One problem with the file that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
struct InPlace<'a> {
    problem: &'a Problem,
    file: &'a NamedSource<String>,
}

impl Diagnostic for InPlace<'_> {
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        (!self.file.inner().is_empty()).then_some(self.file)
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help()
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        self.problem.labels()
    }
}
