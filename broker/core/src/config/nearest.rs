//! Which known names are near a misspelt one.

/// Up to three of `known` that are near `name`, the nearest first; equally near ones in order of the alphabet.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = 1 + name.chars().count() / 3;
    let mut near: Vec<_> = known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit || shares_words(name, candidate))
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

/// Whether one name continues the other at a dot: `retention.ms` and `log.retention.ms`.
fn shares_words(a: &str, b: &str) -> bool {
    let continues = |long: &str, short: &str| {
        short.contains('.')
            && (long.ends_with(&format!(".{short}")) || long.starts_with(&format!("{short}.")))
    };
    continues(a, b) || continues(b, a)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_and_shortened_names_find_the_meant_one() {
        let known = ["log.retention.ms", "log.retention.hours", "log.segment.bytes", "listeners", "node.id"];
        assert_eq!(nearest("log.retentoin.ms", known)[0], "log.retention.ms");
        assert_eq!(nearest("retention.ms", known)[0], "log.retention.ms");
        assert_eq!(nearest("listener", known), ["listeners"]);
        assert!(nearest("zookeeper.connect", known).is_empty());
    }
}
