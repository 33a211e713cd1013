//! Identifiers: what may be a session, a task, an epoch, a URL number.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest accepted identifier, in bytes: it becomes part of file names.
const ID_MAX: usize = 128;

/// Why a string is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than the limit.
    #[error("`{0}` has a bad length (1 to {1} characters are accepted)")]
    Length(String, usize),
    /// A character that could change the meaning of a path, a log line or a URL.
    #[error("`{0}` has a character outside a-z, A-Z, 0-9, `.`, `_` and `-`, or starts with a dot")]
    Character(String),
}

fn check(text: &str, max: usize, upper: bool) -> Result<(), IdError> {
    if text.is_empty() || text.len() > max {
        return Err(IdError::Length(text.escape_debug().to_string(), max));
    }
    let plain = |c: char| {
        c.is_ascii_lowercase()
            || c.is_ascii_digit()
            || matches!(c, '.' | '_' | '-')
            || (upper && c.is_ascii_uppercase())
    };
    if text.starts_with(['.', '-']) || !text.chars().all(plain) {
        return Err(IdError::Character(text.escape_debug().to_string()));
    }
    Ok(())
}

/// One crawl of a task, from first seed to last page. Ours look like `session_{unix_ms}_{8 base36}`.
///
/// Parsing keeps every other id that is safe as a file name, refuses the rest, and reduces the
/// composite form `{id}_{task_id}` that older writers used to its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// A new id from the wall clock (unix milliseconds) and a random number.
    pub fn new(unix_ms: i64, random: u64) -> Self {
        let mut tail = [0u8; 8];
        let mut rest = random;
        for slot in &mut tail {
            *slot = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
        }
        SessionId(format!("session_{unix_ms}_{}", String::from_utf8_lossy(&tail)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `{session_id}:{task_id}`: identifies a session of a task where one string is needed.
    pub fn composite_key(&self, task: &TaskId) -> String {
        format!("{}:{}", self.0, task.0)
    }
}

impl FromStr for SessionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.split_once(':').map_or(text, |(id, _task)| id);
        check(text, ID_MAX, true)?;
        Ok(SessionId(own_prefix(text).unwrap_or(text).to_owned()))
    }
}

/// The leading `session_{digits}_{8 base36}` of a composite `{id}_{task_id}`, if there is one.
fn own_prefix(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("session_")?;
    let digits = rest.find('_')?;
    let tail = rest.get(digits + 1..digits + 9)?;
    let ours = digits > 0
        && rest[..digits].bytes().all(|b| b.is_ascii_digit())
        && tail.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let end = "session_".len() + digits + 9;
    (ours && text[end..].starts_with('_')).then(|| &text[..end])
}

/// Names a task: `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check(text, 64, false)?;
        if text.starts_with('_') {
            return Err(IdError::Character(text.to_owned()));
        }
        Ok(TaskId(text.to_owned()))
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
text_id!(SessionId);
text_id!(TaskId);

/// The n-th process lifetime of a session, from 1. Fences off late writers.
pub type Epoch = u32;

/// A URL's number within its session, from 1, in order of discovery.
pub type UrlNo = u64;

/// A host's number within its session's store, from 1.
pub type HostNo = u32;

/// The number of a store commit, from 1; every output record carries the one it belongs to.
pub type CommitSeq = u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_are_read_in_every_form() {
        #[track_caller]
        fn check(name: &str, text: &str, expected: Option<&str>) {
            let got = text.parse::<SessionId>().ok();
            assert_eq!(got.as_ref().map(SessionId::as_str), expected, "{name}");
        }
        check("ours", "session_1700000000000_abc123xy", Some("session_1700000000000_abc123xy"));
        check("composite", "session_1700000000000_abc123xy_my-task", Some("session_1700000000000_abc123xy"));
        check("composite key", "session_1700000000000_abc123xy:my-task", Some("session_1700000000000_abc123xy"));
        check("other safe id", "Nightly-2024.1", Some("Nightly-2024.1"));
        check("parent directory", "..", None);
        check("slash", "a/b", None);
        check("hidden", ".a", None);
        check("flag-like", "-a", None);
        check("empty", "", None);
        check("control", "a\nb", None);
        check("too long", &"a".repeat(129), None);
    }

    #[test]
    fn new_ids_parse_to_themselves() {
        for random in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            let id = SessionId::new(1_763_720_000_123, random);
            assert_eq!(id.as_str().parse::<SessionId>().as_ref(), Ok(&id));
        }
    }

    #[test]
    fn task_ids_are_lower_case_file_names() {
        for (text, good) in [("a", true), ("docs-2.x_1", true), ("A", false), (".a", false), ("", false), ("_a", false)]
        {
            assert_eq!(text.parse::<TaskId>().is_ok(), good, "{text}");
        }
        assert!("a".repeat(65).parse::<TaskId>().is_err());
    }
}
