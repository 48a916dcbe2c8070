//! Rules about one file at a time that need no more than its tokens.

use crate::lex::{Kind, Token};
use crate::source::{Finding, Source, closing_line};

/// A file is cut in two before it has more lines than this.
const LINES_MAX: usize = 800;

/// Every file begins with what it is responsible for.
pub fn module_doc(source: &Source) -> Vec<Finding> {
    let message = "the file does not begin with `//!`: say what it is responsible for and whom it talks to";
    let missing = !source.text().starts_with("//!");
    missing.then(|| source.finding(1, "doc", message.to_owned())).flatten().into_iter().collect()
}

/// No file is too long to be read.
pub fn length(source: &Source) -> Vec<Finding> {
    let lines = source.text().lines().count();
    let message = || format!("{lines} lines (at most {LINES_MAX}): split the file by idea");
    let long = lines > LINES_MAX;
    long.then(|| source.finding(lines, "length", message())).flatten().into_iter().collect()
}

/// tokio's `select!` picks a branch by a random number of its own unless it is told not to.
pub fn biased_select(source: &Source) -> Vec<Finding> {
    let message = "`select!` without `biased;` is random outside of the seed: begin it with `biased;`";
    let is = |token: Option<&Token>, name: &str| token.and_then(Token::ident) == Some(name);
    let guilty = |window: &&[Token]| {
        let call = is(window.first(), "select") && window[1].is('!');
        let body = window[2].is('{') || window[2].is('(') || window[2].is('[');
        call && body && !(is(window.get(3), "biased") && window[4].is(';'))
    };
    // A `select!` at the very end of a file has fewer tokens; it is no Rust either.
    let found = source.tokens().windows(5).filter(guilty);
    found.filter_map(|window| source.finding(window[0].line, "select", message.to_owned())).collect()
}

/// Planted bugs are armed by the simulator and its tests, by nobody else.
pub fn mutants(source: &Source) -> Vec<Finding> {
    let may = ["sim/engine/", "sim/cluster/"].iter().any(|folder| source.path().starts_with(folder));
    let message = "only the simulator arms a mutant: take the `Mutants` from the runtime";
    let armed = source.code_paths().iter().filter(|path| {
        let arms = path.segments.windows(2).any(|part| part[0] == "Mutants" && part[1] == "arm");
        arms && !may && !source.is_test(path.line)
    });
    armed.filter_map(|path| source.finding(path.line, "mutants", message.to_owned())).collect()
}

/// A lint is expected with a reason, and not allowed: an expectation that no longer holds is reported. Within
/// a macro, and in a module that several tests share, what holds differs from one use to the next: there a
/// lint may be allowed, with a reason too.
pub fn reasons(source: &Source) -> Vec<Finding> {
    let tokens = source.tokens();
    let macros = macro_lines(tokens);
    let mut found = Vec::new();
    for at in 0..tokens.len().saturating_sub(3) {
        // `#[` or `#![`.
        let open = at + 1 + usize::from(tokens[at + 1].is('!'));
        if !tokens[at].is('#') || !tokens[open].is('[') {
            continue;
        }
        let line = tokens[at].line;
        let differs = source.is_test(line) || macros.iter().any(|&(from, to)| (from..=to).contains(&line));
        let message = match tokens.get(open + 1).and_then(Token::ident) {
            Some("allow") if !differs => {
                "use `#[expect(..., reason = \"...\")]`: it tells when it is no longer needed"
            }
            Some("allow" | "expect") if !has_reason(&tokens[open..]) => "say why: `reason = \"...\"`",
            _ => continue,
        };
        found.extend(source.finding(line, "reasons", message.to_owned()));
    }
    found
}

/// The line ranges of `macro_rules!` definitions.
fn macro_lines(tokens: &[Token]) -> Vec<(usize, usize)> {
    let begins = (0..tokens.len()).filter(|&at| tokens[at].ident() == Some("macro_rules"));
    let body = |at: usize| tokens[at..].iter().position(|token| token.is('{')).map(|ahead| at + ahead);
    begins.filter_map(|at| Some((tokens[at].line, closing_line(&tokens[body(at)?..])))).collect()
}

/// Whether the attribute that opens here names a reason.
fn has_reason(attribute: &[Token]) -> bool {
    let inside = attribute.iter().take_while(|token| token.kind != Kind::Punct(']'));
    inside.into_iter().any(|token| token.ident() == Some("reason"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn file_without_a_doc_is_found() {
        assert_eq!(lines(module_doc, "a.rs", "// A comment.\nfn f() {}"), [1]);
        assert_eq!(lines(module_doc, "a.rs", ""), [1]);
        assert_eq!(lines(module_doc, "a.rs", "//! What it is.\nfn f() {}"), [0; 0]);
    }

    #[test]
    fn long_file_is_found() {
        assert_eq!(lines(length, "a.rs", &"\n".repeat(801)), [801]);
        assert_eq!(lines(length, "a.rs", &"\n".repeat(800)), [0; 0]);
        let escaped = format!("// tidy: allow-file(length): a table of Kafka's\n{}", "\n".repeat(900));
        assert_eq!(lines(length, "a.rs", &escaped), [0; 0]);
    }

    #[test]
    fn unbiased_select_is_found() {
        let text = "f!();\ntokio::select! { a = b => {} }\nselect!(\n c = d => {});\nselect! { biased; a = b => {} }";
        assert_eq!(lines(biased_select, "a.rs", text), [2, 3]);
    }

    #[test]
    fn armed_mutant_is_found_outside_the_simulator() {
        let text = "fn f() { burnin_runtime::Mutants::arm(Mutant::S01); }\n#[cfg(test)]\nmod t { fn f() {\nMutants::arm(m) } }";
        assert_eq!(lines(mutants, "broker/server/src/lib.rs", text), [1]);
        assert_eq!(lines(mutants, "broker/src/main.rs", "use burnin_runtime::Mutants::arm;"), [1]);
        assert_eq!(lines(mutants, "sim/cluster/src/lib.rs", text), [0; 0]);
        assert_eq!(lines(mutants, "broker/server/tests/a.rs", text), [0; 0]);
    }

    #[test]
    fn lint_without_a_reason_is_found() {
        let text = "#![allow(dead_code)]\n#[expect(unused)]\n#[expect(unused, reason = \"why\")]\nfn f() {}";
        assert_eq!(lines(reasons, "a.rs", text), [1, 2]);
        let text = "macro_rules! m { () => {\n#[allow(a, reason = \"b\")]\n#[allow(a)]\n} }\n#[allow(a, reason = \"b\")]";
        assert_eq!(lines(reasons, "a.rs", text), [3, 5]);
        assert_eq!(lines(reasons, "a/tests/common/mod.rs", text), [3]);
    }
}
