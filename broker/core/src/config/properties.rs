//! The syntax of `server.properties`: that of `java.util.Properties`.
//!
//! Comments begin with `#` or `!`; a key ends at `=`, `:` or a blank; a line whose last character is an unescaped
//! backslash goes on in the next; `\t \n \r \f \uXXXX` and `\` before any other character are escapes. The input
//! is UTF-8, unlike Java's Latin-1. A key that appears twice is an error here, because the loser would be lost
//! silently.

use super::ConfigError;
use std::collections::BTreeMap;

/// Reads properties from text.
pub fn parse_properties(text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut properties = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let start = first.trim_start_matches(BLANKS);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while continues(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches(BLANKS)),
                None => break,
            }
        }
        let syntax = |reason: &str| ConfigError::Syntax { line: index + 1, reason: reason.to_owned() };
        let (key, value) = split(&logical).map_err(|reason| syntax(&reason))?;
        if key.is_empty() {
            return Err(syntax("the name before `=` is empty"));
        }
        if properties.contains_key(&key) {
            return Err(syntax(&format!("`{key}` is set twice")));
        }
        properties.insert(key, value);
    }
    Ok(properties)
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Whether the line ends with an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

fn split(line: &str) -> Result<(String, String), String> {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|&(_, c)| {
            let ends = !escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
            escaped = c == '\\' && !escaped;
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let rest = line[end..].trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANKS);
    // Java keeps blanks at the end of a value; every Kafka property trims them.
    Ok((unescape(&line[..end])?, unescape(rest)?.trim_end().to_owned()))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                let decoded = code.and_then(char::from_u32);
                out.push(decoded.ok_or_else(|| format!("`\\u{digits}` is not a character"))?);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<(String, String)> {
        parse_properties(text).unwrap().into_iter().collect()
    }

    #[test]
    fn comments_separators_continuations_and_escapes_are_java_s() {
        let text = "# a comment\n ! another \\\n\na=1\nb : 2\nc 3\nd\\=e = x=y\nlist = one,\\\n   two\nempty=\nkey\\ with\\ blank=\\u0041\\t\\q\n";
        let wanted = [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d=e", "x=y"),
            ("empty", ""),
            ("key with blank", "A\tq"),
            ("list", "one,two"),
        ];
        assert_eq!(parse(text), wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn mistakes_name_the_line() {
        for (text, line) in [("a=1\n\na=2\n", 3), ("=1", 1), ("x\nok=\\u00zz", 2)] {
            let error = parse_properties(text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")), "{error}");
        }
    }
}
