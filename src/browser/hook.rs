//! What crawld puts into every page before its own scripts: it counts unfinished work, and notes what
//! needs frames to be drawn. The page is read by another world; this one only says when, and in which tab.

/// The script; answers on `performance` to events whose names begin with the key.
const SCRIPT: &str = include_str!("hook.js");

/// The bit of demand that says: the page listens to frames of other origins.
pub(super) const OTHER_ORIGINS: u32 = 1024;

/// Beside it: looks into closed shadow roots.
const FINDS: &str = include_str!("find_hook.js");

/// And: notes the links that scripts take out of the page.
const GONE: &str = include_str!("gone_hook.js");

/// The name under which a tab's two worlds find each other: a page that knew it could only delay
/// itself, within bounds.
#[derive(Debug, Clone)]
pub(super) struct Key(String);

impl Key {
    /// A new one.
    pub(super) fn new() -> Key {
        Key(format!("{:032x}", fastrand::u128(..)))
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The script for a tab.
pub(super) fn script(key: &Key) -> String {
    format!("({SCRIPT})('{0}');({FINDS})('{0}');({GONE})('{0}')", key.as_str())
}
