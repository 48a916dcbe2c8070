//! Near names: what somebody meant who wrote something that does not exist.

/// The known names that are nearest to `wanted`, best first; at most two, and only when they are near.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let bound = wanted.chars().count().div_ceil(3).max(1);
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (distance(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= bound)
        .collect();
    near.sort();
    near.into_iter().take(2).map(|(_, name)| name).collect()
}

/// The end of an error message: a guess when there is a near name, and the choices.
pub fn choices<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let near = nearest(wanted, known.clone());
    let known: Vec<&str> = known.into_iter().collect();
    let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    match near.as_slice() {
        [] => format!("known: {list}"),
        near => format!("did you mean `{}`? known: {list}", near.join("` or `")),
    }
}

/// How many insertions, deletions, replacements and swaps of neighbours turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_nonsense_finds_none() {
        let known = ["net.partition", "net.reset", "disk.hang"];
        assert_eq!(nearest("net.partiton", known), ["net.partition"]);
        assert_eq!(nearest("disk.ahng", known), ["disk.hang"]);
        assert_eq!(nearest("Disk.Hang", known), ["disk.hang"]);
        assert!(nearest("quux", known).is_empty());
    }
}
