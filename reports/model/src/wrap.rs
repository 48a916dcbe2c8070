//! Text in a box: wrapped at words, cut after so many lines.

/// The width of everything that people read.
pub const WIDTH: usize = 90;

/// `text` in lines of at most `width` characters, broken at spaces (in a word only when it is longer than a line). At
/// most `lines_max`; what was left out ends in `…`.
pub fn wrap(text: &str, width: usize, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        } else if used > 0 {
            line.push(' ');
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        if let Some(last) = lines.last_mut() {
            while last.chars().count() >= width {
                last.pop();
            }
            last.push('…');
        }
    }
    lines
}

/// A rule across the box that begins with `title`.
pub fn rule(title: &str) -> String {
    let title: String = title.chars().take(WIDTH).collect();
    let used = title.chars().count();
    format!("{title}{}", "─".repeat(WIDTH - used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_at_words_and_is_cut_visibly() {
        assert_eq!(wrap("aa bb cc", 5, 9), ["aa bb", "cc"]);
        assert_eq!(wrap("abcdefgh ij", 5, 9), ["abcde", "fgh", "ij"]);
        assert_eq!(wrap("aa bb cc dd", 5, 1), ["aa b…"]);
        assert_eq!(wrap("", 5, 1), Vec::<String>::new());
    }
}
