//! A Rust file as the rules see it, findings, and the escapes that silence them.

use crate::lex::{CodePath, Comment, Kind, Token, lex, paths};
use std::cell::RefCell;
use std::fmt;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the workspace's root.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule, as an escape names it.
    pub rule: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.message)
    }
}

/// An escape: a comment that allows a rule to be broken.
#[derive(Debug)]
struct Escape {
    line: usize,
    rule: String,
    whole_file: bool,
    has_reason: bool,
    used: bool,
}

/// A Rust file.
#[derive(Debug)]
pub struct Source {
    path: String,
    text: String,
    tokens: Vec<Token>,
    paths: Vec<CodePath>,
    test_lines: Vec<(usize, usize)>,
    escapes: RefCell<Vec<Escape>>,
}

impl Source {
    /// A file with this path, relative to the workspace's root, and this text.
    pub fn new(path: &str, text: &str) -> Source {
        let (tokens, comments) = lex(text);
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            paths: paths(&tokens),
            test_lines: test_lines(&tokens),
            escapes: RefCell::new(comments.iter().filter_map(escape).collect()),
            tokens,
        }
    }

    /// Relative to the workspace's root.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    pub(crate) fn code_paths(&self) -> &[CodePath] {
        &self.paths
    }

    /// Whether the line is test code: in a folder of tests, benches or examples, or below `#[cfg(test)]`.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        let mut folders = self.path.split('/');
        folders.any(|part| matches!(part, "tests" | "testing" | "benches" | "examples" | "tests.rs"))
            || self.test_lines.iter().any(|&(from, to)| (from..=to).contains(&line))
    }

    /// A finding on a line, unless an escape allows it.
    pub(crate) fn finding(&self, line: usize, rule: &'static str, message: String) -> Option<Finding> {
        let mut escapes = self.escapes.borrow_mut();
        let allowed = escapes.iter_mut().find(|escape| {
            let here = escape.whole_file || escape.line == line || escape.line + 1 == line;
            here && escape.rule == rule && escape.has_reason
        });
        match allowed {
            Some(escape) => {
                escape.used = true;
                None
            }
            None => Some(Finding { path: self.path.clone(), line, rule, message }),
        }
    }
}

/// Escapes without a reason, and those that silenced nothing. Ask last: the other rules mark what they used.
pub fn escapes(source: &Source) -> Vec<Finding> {
    let escapes = source.escapes.borrow();
    let idle = escapes.iter().filter(|escape| !escape.used);
    idle.map(|escape| {
        let rule = &escape.rule;
        let message = match escape.has_reason {
            true => format!("nothing here breaks the rule `{rule}`: remove the escape"),
            false => format!("an escape needs its reason: `// tidy: allow({rule}): why`"),
        };
        Finding { path: source.path.clone(), line: escape.line, rule: "escape", message }
    })
    .collect()
}

/// Reads `// tidy: allow(rule): reason`.
fn escape((line, text): &Comment) -> Option<Escape> {
    let body = text.trim_start_matches('/').trim_start().strip_prefix("tidy: ")?;
    let (whole_file, rest) = match body.strip_prefix("allow-file(") {
        Some(rest) => (true, rest),
        None => (false, body.strip_prefix("allow(")?),
    };
    let (rule, reason) = rest.split_once(')')?;
    let has_reason = reason.strip_prefix(':').is_some_and(|reason| !reason.trim().is_empty());
    Some(Escape { line: *line, rule: rule.to_owned(), whole_file, has_reason, used: false })
}

/// The line ranges of modules below `#[cfg(test)]`.
fn test_lines(tokens: &[Token]) -> Vec<(usize, usize)> {
    let cfg_test = |at: usize| {
        let is = |n: usize, name: &str| tokens.get(at + n).and_then(Token::ident) == Some(name);
        tokens[at].is('#') && is(2, "cfg") && is(4, "test")
    };
    let mut ranges = Vec::new();
    for at in (0..tokens.len()).filter(|&at| cfg_test(at)) {
        // Up to the item's body; an item without one ends at its semicolon.
        let body = tokens[at..].iter().position(|token| token.is('{') || token.is(';'));
        if let Some(open) = body.map(|ahead| at + ahead).filter(|&open| tokens[open].is('{')) {
            ranges.push((tokens[at].line, closing_line(&tokens[open..])));
        }
    }
    ranges
}

/// The line of the brace that closes the first one.
pub(crate) fn closing_line(tokens: &[Token]) -> usize {
    let mut depth = 0;
    for token in tokens {
        match token.kind {
            Kind::Punct('{') => depth += 1,
            Kind::Punct('}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return token.line;
        }
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
        // tidy: allow(clock): the reason\n\
        // tidy: allow(disk)\n\
        fn f() {} // tidy: allow(net): the reason\n\
        // tidy: allow-file(tasks): the reason\n";

    #[test]
    fn escape_silences_its_rule_on_its_line_and_the_next() {
        let source = Source::new("a.rs", TEXT);
        let silent = |line, rule| source.finding(line, rule, String::new()).is_none();
        assert!(silent(1, "clock") && silent(2, "clock") && !silent(3, "clock"));
        assert!(silent(3, "net") && !silent(2, "net"));
        assert!(!silent(1, "disk") && !silent(3, "disk"), "an escape without a reason");
        assert!(silent(77, "tasks"));
    }

    #[test]
    fn escape_without_a_reason_or_a_use_is_a_finding() {
        let source = Source::new("a.rs", TEXT);
        assert_eq!(source.finding(3, "net", String::new()), None);
        let found: Vec<_> = escapes(&source).into_iter().map(|finding| finding.line).collect();
        assert_eq!(found, [1, 2, 4]);
    }

    #[test]
    fn modules_below_cfg_test_and_test_folders_are_test_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nuse d;\n";
        let source = Source::new("broker/log/src/lib.rs", text);
        let lines: Vec<_> = (1..=8).filter(|&line| source.is_test(line)).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        assert!(Source::new("broker/log/tests/a.rs", text).is_test(1));
    }
}
