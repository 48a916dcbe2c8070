//! Rust text into tokens and comments: enough to tell code from comments and strings, and to read paths and
//! `use` trees. It does not judge: text that rustc refuses gives some tokens or other.

/// A token and the line (from 1) that it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Where.
    pub line: usize,
    /// What.
    pub kind: Kind,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier or a keyword.
    Ident(String),
    /// `::`
    PathSep,
    /// `->` or `=>`
    Arrow,
    /// A string, character or number.
    Literal,
    /// As in `'a`.
    Lifetime,
    /// Any other character.
    Punct(char),
}

impl Token {
    /// The identifier, if it is one.
    pub fn ident(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it is this character.
    pub fn is(&self, punct: char) -> bool {
        self.kind == Kind::Punct(punct)
    }
}

/// A comment: its first line and its text with the slashes.
pub type Comment = (usize, String);

/// Splits text into tokens and comments.
pub fn lex(text: &str) -> (Vec<Token>, Vec<Comment>) {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1 };
    let (mut tokens, mut comments) = (Vec::new(), Vec::new());
    while let Some(c) = lexer.peek(0) {
        let line = lexer.line;
        let begin = lexer.at;
        match c {
            c if c.is_whitespace() => lexer.bump(),
            '/' if lexer.peek(1) == Some('/') => {
                lexer.skip_while(|c| c != '\n');
                comments.push((line, lexer.text_from(begin)));
            }
            '/' if lexer.peek(1) == Some('*') => {
                lexer.block_comment();
                comments.push((line, lexer.text_from(begin)));
            }
            _ => {
                let kind = lexer.token(c);
                tokens.push(Token { line, kind });
            }
        }
    }
    (tokens, comments)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn bump(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn bump_many(&mut self, count: usize) {
        (0..count).for_each(|_| self.bump());
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&keep) {
            self.bump();
        }
    }

    fn text_from(&self, begin: usize) -> String {
        self.chars[begin..self.at.min(self.chars.len())].iter().collect()
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.bump_many(2);
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.bump_many(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.bump(),
            }
        }
    }

    fn token(&mut self, c: char) -> Kind {
        match (c, self.peek(1)) {
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (':', Some(':')) => {
                self.bump_many(2);
                Kind::PathSep
            }
            ('-' | '=', Some('>')) => {
                self.bump_many(2);
                Kind::Arrow
            }
            (c, _) if c.is_ascii_digit() => {
                self.number();
                Kind::Literal
            }
            (c, _) if is_ident(c) => self.ident(),
            (c, _) => {
                self.bump();
                Kind::Punct(c)
            }
        }
    }

    /// A number: its point belongs to it only when a digit follows, as in `1.5` and unlike `0..n`.
    fn number(&mut self) {
        loop {
            self.skip_while(is_ident);
            let more = self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit());
            if !more {
                return;
            }
            self.bump();
        }
    }

    /// An identifier, or a literal whose prefix looks like one (`b"`, `r#"`, `c"`, `b'`).
    fn ident(&mut self) -> Kind {
        let begin = self.at;
        self.skip_while(is_ident);
        let name = self.text_from(begin);
        match (&*name, self.peek(0)) {
            ("b" | "c", Some('"')) => self.string(),
            ("b", Some('\'')) => self.quote(),
            ("r" | "br" | "cr", Some('"' | '#')) => self.raw(),
            _ => Kind::Ident(name),
        }
    }

    fn string(&mut self) -> Kind {
        self.bump();
        while let Some(c) = self.peek(0) {
            self.bump_many(if c == '\\' { 2 } else { 1 });
            if c == '"' {
                break;
            }
        }
        Kind::Literal
    }

    /// A raw string, or a raw identifier as in `r#type`.
    fn raw(&mut self) -> Kind {
        let hashes = (0..).take_while(|&n| self.peek(n) == Some('#')).count();
        self.bump_many(hashes);
        if self.peek(0) != Some('"') {
            return self.ident();
        }
        self.bump();
        while let Some(c) = self.peek(0) {
            self.bump();
            if c == '"' && (0..hashes).all(|n| self.peek(n) == Some('#')) {
                self.bump_many(hashes);
                break;
            }
        }
        Kind::Literal
    }

    /// A character literal or a lifetime.
    fn quote(&mut self) -> Kind {
        let is_char = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.bump();
        if !is_char {
            self.skip_while(is_ident);
            return Kind::Lifetime;
        }
        while let Some(c) = self.peek(0) {
            self.bump_many(if c == '\\' { 2 } else { 1 });
            if c == '\'' {
                break;
            }
        }
        Kind::Literal
    }
}

/// A path such as `tokio::time::sleep`, written out from a `use` tree or found in an expression or a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodePath {
    /// The line of its last segment.
    pub line: usize,
    /// Its segments without generics.
    pub segments: Vec<String>,
    /// The index of the token after it.
    pub end: usize,
}

/// Every path in the code.
pub fn paths(tokens: &[Token]) -> Vec<CodePath> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = match tokens[at].ident() {
            Some("use") if !tokens.get(at + 1).is_some_and(|t| t.is('<')) => {
                use_tree(tokens, at + 1, &[], &mut paths)
            }
            Some(_) => plain_path(tokens, at, &mut paths),
            None => at + 1,
        };
    }
    paths
}

/// Reads one tree of a `use`; returns the index of the `,`, `}` or `;` after it.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<CodePath>) -> usize {
    let mut segments = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::PathSep => at += 1,
            Kind::Ident(name) if name == "as" => at += 2,
            Kind::Ident(name) => {
                segments.push(name.clone());
                at += 1;
            }
            Kind::Punct('*') => {
                segments.push("*".to_owned());
                at += 1;
            }
            Kind::Punct('{') => {
                at += 1;
                while tokens.get(at).is_some_and(|t| !t.is('}')) {
                    at = use_tree(tokens, at, &segments, paths);
                    at += usize::from(tokens.get(at).is_some_and(|t| t.is(',')));
                }
                return at + 1;
            }
            _ => break,
        }
    }
    let line = tokens[at.min(tokens.len()) - 1].line;
    paths.push(CodePath { line, segments, end: at });
    // Anything but a separator would be text that is no Rust: step over it, so that reading goes on.
    let separator = tokens.get(at).is_some_and(|t| t.is(',') || t.is('}') || t.is(';'));
    if separator { at } else { at + 1 }
}

/// Reads a path that begins at `at`; returns the index after it. Generics within it are read as well.
fn plain_path(tokens: &[Token], mut at: usize, paths: &mut Vec<CodePath>) -> usize {
    let mut segments = Vec::new();
    let mut line = tokens[at].line;
    while let Some(name) = tokens.get(at).and_then(Token::ident) {
        segments.push(name.to_owned());
        line = tokens[at].line;
        at += 1;
        if tokens.get(at).is_none_or(|t| t.kind != Kind::PathSep) {
            break;
        }
        // A turbofish in the middle: `HashMap::<K, V>::new`. Its types are paths of their own.
        if tokens.get(at + 1).is_some_and(|t| t.is('<')) {
            let Some((_, end)) = generics(tokens, at + 1) else { break };
            if tokens.get(end).is_none_or(|t| t.kind != Kind::PathSep) {
                break;
            }
            paths.extend(self::paths(&tokens[at + 2..end - 1]));
            at = end;
        }
        at += 1;
    }
    paths.push(CodePath { line, segments, end: at });
    at
}

/// How many types stand in the `<...>` that opens at `at`, and the index after it.
pub fn generics(tokens: &[Token], at: usize) -> Option<(usize, usize)> {
    let (mut depth, mut commas, mut last_comma) = (0usize, 0, at);
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.kind {
            Kind::Punct('<' | '(' | '[') => depth += 1,
            Kind::Punct('>' | ')' | ']') => {
                depth -= 1;
                if depth == 0 {
                    let trailing = last_comma + 1 == index;
                    return Some((commas + usize::from(!trailing), index + 1));
                }
            }
            Kind::Punct(',') if depth == 1 => {
                commas += 1;
                last_comma = index;
            }
            Kind::Punct('{') => return None,
            Kind::Punct(';') if depth == 1 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        paths(&lex(text).0).into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = r##"
            // std::fs
            /* std::fs /* nested */ std::fs */
            let a = "std::fs \" std::fs"; let b = r#"std::fs " std::fs"#; let c = b"std::fs";
            let d = '"'; let e = '\''; let f: &'static str = x; let g = b'"'; let h = 1.5e3; let i = 0..n;
            real::path
        "##;
        let found = all(text);
        assert!(!found.iter().any(|path| path.contains("fs")), "{found:?}");
        assert!(found.contains(&"real::path".to_owned()), "{found:?}");
        assert!(found.contains(&"n".to_owned()), "{found:?}");
    }

    #[test]
    fn use_trees_are_written_out() {
        let text = "use std::{fs::{self, File as F}, io, time::*}; use ::tokio::time; fn f() {}";
        assert_eq!(
            all(text)[..6],
            ["std::fs::self", "std::fs::File", "std::io", "std::time::*", "tokio::time", "fn"]
        );
    }

    #[test]
    fn paths_keep_going_through_turbofish_and_macros() {
        let found = all("m!(a::b::<c::d>::e(x), f::g)");
        for path in ["a::b::e", "c::d", "f::g"] {
            assert!(found.contains(&path.to_owned()), "{path} is not in {found:?}");
        }
    }

    #[test]
    fn generics_are_counted_on_the_top_level() {
        let count = |text: &str| generics(&lex(text).0, 0).map(|(count, _)| count);
        assert_eq!(count("<K, V>"), Some(2));
        assert_eq!(count("<Vec<(A, B)>, fn(A, B) -> C, [u8; 4],>"), Some(3));
        assert_eq!(count("< b; c > d"), None, "a comparison");
    }
}
