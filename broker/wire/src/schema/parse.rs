//! Stanzas of `schema/*.txt` to a tree. The text is ours, so a mistake in it is a panic, and a test's failure.

use super::Direction;

/// The shape of one message in all its versions.
pub(crate) struct Message {
    pub(crate) api: &'static str,
    pub(crate) direction: Direction,
    pub(crate) versions: (i16, i16),
    /// First version with compact lengths and tagged fields; `i16::MAX` when there is none.
    pub(crate) flexible: i16,
    pub(crate) fields: Vec<Field>,
}

/// A field and the versions that have it.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) tag: Option<u32>,
    pub(crate) versions: (i16, i16),
    pub(crate) nullable: bool,
    pub(crate) kind: Kind,
}

/// The type of a field.
pub(crate) enum Kind {
    /// So many bytes, whatever they are.
    Fixed(usize),
    /// One byte; any value but zero is true.
    Bool,
    String,
    Bytes,
    Array(Box<Kind>),
    Struct(Vec<Field>),
}

/// Parses a file of stanzas.
pub(crate) fn parse(text: &'static str) -> Vec<Message> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut messages = Vec::new();
    while let Some(line) = lines.next() {
        messages.push(message(line, &mut lines));
    }
    messages
}

fn message(head: &'static str, lines: &mut dyn Iterator<Item = &'static str>) -> Message {
    let words: Vec<&'static str> = head.split(' ').collect();
    let (api, direction, versions, flexible) = match words[..] {
        [api, direction, versions, "{"] => (api, direction, versions, i16::MAX),
        [api, direction, versions, "flexible", from, "{"] => {
            (api, direction, versions, range(from, (0, 0)).0)
        }
        _ => panic!("schema: expected `Api request|response A..B [flexible C+] {{`, found `{head}`"),
    };
    let direction = match direction {
        "request" => Direction::Request,
        "response" => Direction::Response,
        other => panic!("schema: expected request or response, found `{other}` in `{head}`"),
    };
    let versions = range(versions, (0, i16::MAX));
    Message { api, direction, versions, flexible, fields: fields(versions, lines) }
}

/// The fields up to the closing brace.
fn fields(within: (i16, i16), lines: &mut dyn Iterator<Item = &'static str>) -> Vec<Field> {
    let mut fields = Vec::new();
    loop {
        match lines.next() {
            Some("}") => return fields,
            Some(line) => fields.push(field(line, within, lines)),
            None => panic!("schema: text ends inside a stanza"),
        }
    }
}

fn field(line: &'static str, within: (i16, i16), lines: &mut dyn Iterator<Item = &'static str>) -> Field {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("schema: field ends early: `{line}`"));
    let mut name = word();
    let mut tag = None;
    if name == "tag" {
        tag = Some(word().parse().unwrap_or_else(|_| panic!("schema: bad tag: `{line}`")));
        name = word();
    }
    let kind_text = word();
    let (kind_text, nullable) = match kind_text.strip_suffix('?') {
        Some(text) => (text, true),
        None => (kind_text, false),
    };
    let mut versions = within;
    let mut open = false;
    for rest in words {
        match rest {
            "{" => open = true,
            text => versions = range(text, within),
        }
    }
    let mut inner = || if open { fields(versions, lines) } else { panic!("schema: `{line}` needs a block") };
    let kind = match kind_text {
        "[]" => Kind::Array(Box::new(Kind::Struct(inner()))),
        "struct" => Kind::Struct(inner()),
        _ if open => panic!("schema: `{line}` opens a block"),
        text => match text.strip_prefix("[]") {
            Some(element) => Kind::Array(Box::new(scalar(element, line))),
            None => scalar(text, line),
        },
    };
    Field { name, tag, versions, nullable, kind }
}

fn scalar(text: &str, line: &str) -> Kind {
    match text {
        "bool" => Kind::Bool,
        "i8" => Kind::Fixed(1),
        "i16" | "u16" => Kind::Fixed(2),
        "i32" | "u32" => Kind::Fixed(4),
        "i64" | "f64" => Kind::Fixed(8),
        "uuid" => Kind::Fixed(16),
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        _ => panic!("schema: unknown type `{text}` in `{line}`"),
    }
}

/// `A+`, `A..B` or `..B`, where an open end is that of `within`, or `none`.
fn range(text: &str, within: (i16, i16)) -> (i16, i16) {
    if text == "none" {
        return (0, -1);
    }
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("schema: bad versions `{text}`"));
    match (text.strip_suffix('+'), text.split_once("..")) {
        (Some(first), _) => (number(first), within.1),
        (None, Some(("", last))) => (within.0, number(last)),
        (None, Some((first, last))) => (number(first), number(last)),
        (None, None) => panic!("schema: bad versions `{text}`"),
    }
}
