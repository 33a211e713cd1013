//! What the output files look like from outside: lengths, the last group's hash, the last commit in them.
//!
//! Reads ends of files only, and everything where a command names the session; `verify` compares as well.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use xxhash_rust::xxh3::Xxh3;

use crate::model::checkpoint::OutputFile;
use crate::model::ids::{CommitSeq, UrlNo};
use crate::model::record::UrlRecord;
use crate::output::lines::Lines;
use crate::state::atomic_file::{Content, judge, open_regular};

/// A last line longer than this is not looked for.
const TAIL_MAX: u64 = 16 << 20;
/// A group larger than this is compared by length only.
const GROUP_MAX: u64 = 256 << 20;

/// What was seen in `out/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputsSeen {
    /// There is any output file.
    pub any: bool,
    /// The first URL record can be read, so the store can be rebuilt.
    pub readable: bool,
    /// The latest commit that a whole line belongs to.
    pub reach: CommitSeq,
    /// What is shorter than committed or differs, in sentences.
    pub damage: Vec<String>,
    /// Files with a line that is no record, and how far they are good, in bytes of text.
    pub bad: Vec<(String, u64)>,
    /// Why something could not be read, for a reason outside it.
    pub refused: Option<String>,
}

/// Looks at `out`, comparing with what was committed; `whole` reads every line of it.
pub fn look(out: &Path, committed: &[OutputFile], whole: bool) -> OutputsSeen {
    let mut seen = OutputsSeen::default();
    if fs::symlink_metadata(out).is_ok_and(|meta| !meta.is_dir()) {
        // Opening sets it aside: nothing is read or written through a link.
        seen.damage.push(format!("`{}` is no directory and is set aside", out.display()));
        return seen;
    }
    let segments = match segments(out) {
        Ok(segments) => segments,
        Err(error) => {
            if let Content::Refused(error) = judge(error) {
                seen.refused = Some(format!("`{}`: {error}", out.display()));
            }
            Vec::new()
        }
    };
    seen.any = !segments.is_empty();
    for prefix in ["urls-", "pages-"] {
        let newest = segments.iter().rev().find(|name| name.starts_with(prefix) && name.ends_with(".jsonl"));
        if let Some(name) = newest {
            seen.note(
                &out.join(name),
                |path| last_commit(path).map(|seq| seq.unwrap_or(0)),
                |seen, seq| {
                    seen.reach = seen.reach.max(seq);
                },
            );
        }
    }
    if let Some(first) = segments.iter().find(|name| name.starts_with("urls-")) {
        // A compressed first segment was whole when it was finished.
        seen.readable = first.ends_with(".gz");
        seen.note(&out.join(first), first_url, |seen, readable| seen.readable |= readable);
    }
    for file in committed {
        let known = seen.damage.len();
        compare(out, file, &mut seen);
        if whole && seen.damage.len() == known {
            every_line(out, file, &mut seen);
        }
    }
    seen
}

/// Looks for a line that is no record.
fn every_line(out: &Path, file: &OutputFile, seen: &mut OutputsSeen) {
    let good = match good_until(out, file) {
        Ok(good) => good,
        Err(error) => {
            seen.refused = Some(format!("`{}`: {error}", out.join(&file.name).display()));
            return;
        }
    };
    if good < file.committed_length {
        seen.damage.push(format!("`{}` has a line that is no record behind byte {good}", file.name));
        seen.bad.push((file.name.clone(), good));
    }
}

/// How far a file, packed or not, consists of records.
fn good_until(out: &Path, file: &OutputFile) -> io::Result<u64> {
    let plain = out.join(&file.name);
    let path = if plain.exists() { plain } else { out.join(format!("{}.gz", file.name)) };
    let mut lines = Lines::open(&path)?;
    let mut good = 0;
    while good < file.committed_length {
        match lines.next_line() {
            Ok(Some(line)) if serde_json::from_slice::<Record>(line).is_ok() => good = lines.offset(),
            Ok(_) => break,
            // What cannot be unpacked is damage.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(good)
}

/// What every record has.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "n")]
    _n: UrlNo,
    #[serde(rename = "commit_seq")]
    _commit_seq: CommitSeq,
}

impl OutputsSeen {
    fn note<T>(
        &mut self,
        path: &Path,
        read: impl FnOnce(&Path) -> io::Result<T>,
        then: impl FnOnce(&mut Self, T),
    ) -> Option<io::Error> {
        match read(path) {
            Ok(value) => {
                then(self, value);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some(error),
            Err(error) => match judge(error) {
                Content::Refused(error) => {
                    self.refused = Some(format!("`{}`: {error}", path.display()));
                    None
                }
                Content::Wrong(why) => Some(io::Error::other(why)),
                _ => Some(io::ErrorKind::NotFound.into()),
            },
        }
    }
}

fn segments(out: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(out)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let known = name.starts_with("urls-") || name.starts_with("pages-");
        if known && (name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn compare(out: &Path, file: &OutputFile, seen: &mut OutputsSeen) {
    let path: PathBuf = out.join(&file.name);
    if file.sealed && !path.exists() && fs::symlink_metadata(out.join(format!("{}.gz", file.name))).is_ok() {
        return;
    }
    let problem = seen.note(
        &path,
        |path| matches(path, file),
        |seen, same| {
            if !same {
                seen.damage.push(format!("the last committed group of `{}` differs", file.name));
            }
        },
    );
    if let Some(problem) = problem {
        let what = if problem.kind() == io::ErrorKind::UnexpectedEof { "is shorter than committed" } else { "is gone" };
        seen.damage.push(format!("`{}` {what}", file.name));
    }
}

fn matches(path: &Path, file: &OutputFile) -> io::Result<bool> {
    let mut handle = open_regular(path)?;
    if handle.metadata()?.len() < file.committed_length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let group = file.committed_length.saturating_sub(file.last_group_start);
    if group == 0 || group > GROUP_MAX || file.last_group_hash.is_empty() {
        return Ok(true);
    }
    handle.seek(SeekFrom::Start(file.last_group_start))?;
    let mut hash = Xxh3::new();
    let mut rest = handle.take(group);
    let mut buffer = [0; 64 << 10];
    loop {
        match rest.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    Ok(format!("{:032x}", hash.digest128()) == file.last_group_hash)
}

/// The `commit_seq` of the last whole line; it is every record's last member.
fn last_commit(path: &Path) -> io::Result<Option<CommitSeq>> {
    let mut handle = open_regular(path)?;
    let length = handle.metadata()?.len();
    let mut window = 64 << 10;
    loop {
        let from = length.saturating_sub(window);
        handle.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        handle.by_ref().take(length - from).read_to_end(&mut bytes)?;
        if let Some(end) = memchr::memrchr(b'\n', &bytes) {
            return Ok(commit_in(&bytes[..end]));
        }
        if from == 0 || window >= TAIL_MAX {
            return Ok(None);
        }
        window *= 8;
    }
}

fn commit_in(line: &[u8]) -> Option<CommitSeq> {
    const KEY: &[u8] = b"\"commit_seq\":";
    let at = memchr::memmem::rfind(line, KEY)? + KEY.len();
    let digits: Vec<u8> =
        line[at..].iter().copied().skip_while(|b| *b == b' ').take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

fn first_url(path: &Path) -> io::Result<bool> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(1 << 20).read_to_end(&mut bytes)?;
    let Some(end) = memchr::memchr(b'\n', &bytes) else { return Ok(false) };
    Ok(serde_json::from_slice::<UrlRecord>(&bytes[..end]).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = r#"{"n":1,"url":"http://a.test/","depth":0,"commit_seq":1}"#;

    fn committed(name: &str, text: &str, from: usize) -> OutputFile {
        OutputFile {
            name: name.into(),
            committed_length: text.len() as u64,
            last_group_start: from as u64,
            last_group_hash: format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&text.as_bytes()[from..])),
            sealed: false,
        }
    }

    #[test]
    fn lengths_hashes_and_reach() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path();
        assert_eq!(look(&out.join("none"), &[], false), OutputsSeen::default());
        let urls = format!("{URL}\n{}\n", URL.replace("\"commit_seq\":1", "\"commit_seq\":4"));
        fs::write(out.join("urls-00001.jsonl"), format!("{urls}{{\"n\":3,\"commit_seq\":9")).unwrap();
        let record = committed("urls-00001.jsonl", &urls, URL.len() + 1);
        let seen = look(out, std::slice::from_ref(&record), false);
        assert_eq!(seen, OutputsSeen { any: true, readable: true, reach: 4, ..Default::default() }, "torn tail");
        fs::write(out.join("urls-00001.jsonl"), urls.replace("\"commit_seq\":4", "\"commit_seq\":5")).unwrap();
        assert_eq!(look(out, std::slice::from_ref(&record), false).damage.len(), 1, "differs");
        fs::write(out.join("urls-00001.jsonl"), &urls[..urls.len() - 1]).unwrap();
        assert_eq!(look(out, std::slice::from_ref(&record), false).damage.len(), 1, "short");
        fs::remove_file(out.join("urls-00001.jsonl")).unwrap();
        let seen = look(out, std::slice::from_ref(&record), false);
        assert!(seen.damage.len() == 1 && !seen.readable, "gone");
        let sealed = OutputFile { sealed: true, ..record };
        fs::write(out.join("urls-00001.jsonl.gz"), "").unwrap();
        assert!(look(out, &[sealed], false).damage.is_empty(), "compressed");
    }

    #[test]
    fn a_line_that_is_no_record_is_found_by_who_reads_all() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path();
        let (name, good) = ("urls-00001.jsonl", format!("{URL}\n"));
        let text = format!("{good}{}\n{}\n", "\0".repeat(9), URL.replace("\"n\":1", "\"n\":3"));
        fs::write(out.join(name), &text).unwrap();
        let file = OutputFile { sealed: true, ..committed(name, &text, text.len() - URL.len() - 1) };
        let look = |whole| look(out, std::slice::from_ref(&file), whole);
        assert_eq!(look(false).damage.len(), 0, "its end is good");
        let seen = look(true);
        assert_eq!(seen.bad, [(name.to_owned(), good.len() as u64)], "{seen:?}");
        crate::output::compress::compress(out, name).unwrap();
        assert_eq!(look(true).bad, seen.bad, "packed");
        fs::write(out.join(format!("{name}.gz")), "no gzip at all").unwrap();
        assert_eq!(look(true).bad, [(name.to_owned(), 0)], "cannot be unpacked");
        assert!(look(false).damage.is_empty());
    }

    #[test]
    fn the_last_commit_is_found_behind_a_long_torn_line() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("pages-00001.jsonl");
        fs::write(&path, format!("{{\"text\":\"\\\"commit_seq\\\":99\",\"commit_seq\":3}}\n{}", "x".repeat(1 << 20)))
            .unwrap();
        assert_eq!(last_commit(&path).unwrap(), Some(3));
        fs::write(&path, "no line").unwrap();
        assert_eq!(last_commit(&path).unwrap(), None);
    }

    #[test]
    fn a_link_in_place_of_the_outputs_is_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (target, out) = (temp.path().join("elsewhere"), temp.path().join("out"));
        fs::create_dir(&target).unwrap();
        fs::write(target.join("urls-00001.jsonl"), format!("{URL}\n")).unwrap();
        std::os::unix::fs::symlink(&target, &out).unwrap();
        let seen = look(&out, &[], false);
        assert!(!seen.any && !seen.readable && seen.damage.len() == 1, "{seen:?}");
        assert!(look(&target, &[], false).damage.is_empty());
    }

    #[test]
    fn a_fifo_as_output_is_damage_not_a_wait() {
        let temp = tempfile::tempdir().unwrap();
        let fifo = temp.path().join("urls-00001.jsonl");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let seen = look(temp.path(), &[committed("urls-00001.jsonl", "abc", 0)], false);
        assert!(!seen.readable && seen.damage.len() == 1 && seen.refused.is_none(), "{seen:?}");
    }
}
