//! "Did you mean": the known word nearest to an unknown one.

/// The candidate with the fewest edits to `word`, when that is few enough to be a slip.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 6);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= allowed || candidate.ends_with(&format!("_{word}")))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance over characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_word_and_nonsense_finds_none() {
        let words = ["state_dir", "session_heartbeat_interval", "no_sandbox"];
        for (typed, meant) in [
            ("state_dirr", Some("state_dir")),
            ("statedir", Some("state_dir")),
            ("session_hearbeat_intervall", Some("session_heartbeat_interval")),
            ("heartbeat_interval", Some("session_heartbeat_interval")),
            ("sandbox", Some("no_sandbox")),
            ("colour", None),
        ] {
            assert_eq!(nearest(typed, words), meant, "{typed}");
        }
    }
}
