//! Page records after a commit, found by their commit number without reading what came before.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::model::event::{Event, EventId, PageLine};
use crate::model::ids::{CommitSeq, SessionId};
use crate::output::Kind;
use crate::output::lines::Lines;
use crate::output::segments::{Found, list};

/// A stretch that is read from its beginning instead of being halved again.
const NEAR: u64 = 64 << 10;

#[derive(Deserialize)]
struct Commit {
    commit_seq: CommitSeq,
}

/// Events of the pages with numbers above `after`, up to `upto`, of commits up to `committed`; at most `most` of them,
/// and then those of the last commit among them are all there or the answer ends within it.
///
/// # Errors
/// What the system says; a line that is no record ends the reading.
pub fn pages_since(
    out: &Path,
    session: &SessionId,
    (after, upto): (EventId, EventId),
    committed: CommitSeq,
    most: usize,
) -> io::Result<Vec<Event>> {
    let segments = list(out, Kind::Pages)?;
    let first = first_segment(&segments, after.commit_seq)?;
    let mut events = Vec::new();
    let mut index = (0, 0);
    for (at, segment) in segments.iter().enumerate().skip(first) {
        let plain = segment.path.extension().is_some_and(|ending| ending == "jsonl");
        let from = if plain && at == first { seek(&segment.path, after.commit_seq)? } else { 0 };
        let mut lines = Lines::open_at(&segment.path, from)?;
        while let Some(line) = lines.next_line()? {
            let Ok(page) = serde_json::from_slice::<PageLine>(line) else { return Ok(events) };
            let (epoch, seq) = page.commit();
            if seq < after.commit_seq {
                continue;
            }
            // An uncommitted tail is nobody's yet.
            if seq > committed {
                return Ok(events);
            }
            index = if index.0 == seq { (seq, index.1 + 1) } else { (seq, 1) };
            let id = EventId::new(epoch, seq, index.1);
            if id > upto {
                return Ok(events);
            }
            if id > after {
                events.push(page.event(session, index.1));
                if events.len() == most {
                    return Ok(events);
                }
            }
        }
    }
    Ok(events)
}

/// The segment in which a commit's records begin: commits are not split between segments.
fn first_segment(segments: &[Found], seq: CommitSeq) -> io::Result<usize> {
    let mut chosen = 0;
    for (at, segment) in segments.iter().enumerate() {
        let mut lines = Lines::open(&segment.path)?;
        let first = lines.next_line()?.and_then(commit);
        if first.is_none_or(|first| first > seq) {
            break;
        }
        chosen = at;
    }
    Ok(chosen)
}

/// A place in a plain segment before the first record of this commit, and not far before.
fn seek(path: &Path, seq: CommitSeq) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let (mut low, mut high) = (0, file.metadata()?.len());
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        file.seek(SeekFrom::Start(middle))?;
        let mut reader = BufReader::with_capacity(16 << 10, (&mut file).take(high - middle));
        let mut line = Vec::new();
        let skipped = reader.read_until(b'\n', &mut line)? as u64;
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        match commit(&line) {
            Some(found) if found < seq => low = middle + skipped,
            // No whole record lies between the middle and the end, or it comes after.
            _ => high = middle,
        }
    }
    Ok(low)
}

fn commit(line: &[u8]) -> Option<CommitSeq> {
    serde_json::from_slice::<Commit>(line).ok().map(|commit| commit.commit_seq)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::model::event::What;
    use crate::model::outcome::Outcome;
    use crate::model::record::PageRecord;
    use crate::model::time::Timestamp;
    use crate::model::url::CanonicalUrl;

    /// `per_commit` records a commit, from commit 1 on, in two segments.
    fn outputs(dir: &Path, commits: u64, per_commit: u64, text: usize) {
        let url = CanonicalUrl::parse("http://h.example/").unwrap();
        let mut n = 0;
        for (segment, seqs) in [(1, 1..=commits / 2), (2, commits / 2 + 1..=commits)] {
            let mut lines = String::new();
            for commit_seq in seqs {
                for _ in 0..per_commit {
                    n += 1;
                    let text = Some("x".repeat(text));
                    let epoch = if commit_seq > 7 { 2 } else { 1 };
                    let record = PageRecord::new(&url, Outcome::Fetched, Timestamp::from_millis(0));
                    let record = PageRecord { n, commit_seq, epoch, text, ..record };
                    writeln!(lines, "{}", serde_json::to_string(&record).unwrap()).unwrap();
                }
            }
            std::fs::write(dir.join(Kind::Pages.name(segment)), lines).unwrap();
        }
    }

    fn numbers(events: &[Event]) -> Vec<(String, u64)> {
        let n = |event: &Event| match &event.what {
            What::Page { page } => page.n,
            other => panic!("{}", other.name()),
        };
        events.iter().map(|event| (event.id.to_string(), n(event))).collect()
    }

    #[test]
    fn pages_are_found_from_any_number_on_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let session = "s1".parse().unwrap();
        outputs(dir.path(), 200, 3, 2_000);
        let all = pages_since(dir.path(), &session, (EventId::default(), EventId::LAST), 200, 10_000).unwrap();
        assert_eq!(all.len(), 600);
        for from in [0, 1, 2, 3, 20, 21, 299, 300, 301, 449, 597, 599] {
            let after = all.get(from).map_or(EventId::LAST, |event| event.id);
            let rest = pages_since(dir.path(), &session, (after, EventId::LAST), 200, 10_000).unwrap();
            assert_eq!(numbers(&rest), numbers(&all[from + 1..]), "after {after}");
        }
        // Step by step, and within a commit.
        let (mut last, mut seen) = (EventId::default(), Vec::new());
        loop {
            let some = pages_since(dir.path(), &session, (last, EventId::LAST), 200, 7).unwrap();
            let Some(end) = some.last() else { break };
            last = end.id;
            seen.extend(some);
        }
        assert_eq!(numbers(&seen), numbers(&all));
    }

    #[test]
    fn what_is_not_committed_is_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let session = "s1".parse().unwrap();
        outputs(dir.path(), 10, 1, 10);
        let some = pages_since(dir.path(), &session, (EventId::new(1, 4, 1), EventId::LAST), 8, 100).unwrap();
        assert_eq!(
            numbers(&some),
            [("1.5.1".to_owned(), 5), ("1.6.1".into(), 6), ("1.7.1".into(), 7), ("2.8.1".into(), 8)]
        );
        let upto = EventId::new(1, 6, 1);
        let some = pages_since(dir.path(), &session, (EventId::new(1, 4, 1), upto), 8, 100).unwrap();
        assert_eq!(some.len(), 2);
        assert!(pages_since(&dir.path().join("none"), &session, (upto, EventId::LAST), 8, 9).unwrap().is_empty());
    }
}
