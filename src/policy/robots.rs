//! robots.txt: what it says (RFC 9309), and what follows when it cannot be had.

mod access;
mod line;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;

pub use access::{Held, RobotsAccess, from_status};
pub use line::{JudgeError, judge_line};
use pattern::{Pattern, normal_path};

/// Bytes of a robots.txt that are read (500 KiB, the least that RFC 9309, 2.5, allows); the rest is cut
/// at the last full line.
pub const MAX_BYTES: usize = 500 * 1024;

/// Redirects that are followed on the way to a robots.txt (RFC 9309, 2.3.1.2: at least five).
pub const MAX_REDIRECTS: u32 = 5;

/// A parsed robots.txt: at most [`MAX_BYTES`] of rules, whatever the server sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Robots {
    rules: Vec<Rule>,
    /// Product token in lower case (`*` for everyone) → the stretches of `rules` of all its groups.
    groups: HashMap<String, Vec<Range<usize>>>,
    /// Product token in lower case → seconds.
    delays: HashMap<String, f64>,
    sitemaps: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    allow: bool,
    pattern: Pattern,
}

/// Whether a URL may be fetched, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RobotsVerdict {
    /// Whether it may.
    pub allowed: bool,
    /// The deciding line, as `disallow: /path`; `None` when no rule matches.
    pub rule: Option<String>,
}

impl RobotsVerdict {
    fn free() -> Self {
        RobotsVerdict { allowed: true, rule: None }
    }
}

impl Robots {
    /// Reads a robots.txt. Never fails: lines that are not understood say nothing, and a body without any
    /// rule (an HTML page, say) allows everything.
    pub fn parse(body: &[u8]) -> Robots {
        parse::parse(body)
    }

    /// Judges a URL for a user agent, given as a product token (`crawld`) or as a whole `User-Agent`
    /// header. The longest matching pattern decides, `allow` before `disallow` among equals.
    pub fn allowed(&self, user_agent: &str, url: &str) -> RobotsVerdict {
        let path = normal_path(url);
        if path == "/robots.txt" || path.starts_with("/robots.txt?") {
            return RobotsVerdict::free();
        }
        let mut best: Option<&Rule> = None;
        for rule in self.group(user_agent).iter().flat_map(|range| &self.rules[range.clone()]) {
            let beats = best.is_none_or(|best| {
                let (new, old) = (rule.pattern.octets(), best.pattern.octets());
                new > old || (new == old && rule.allow && !best.allow)
            });
            if beats && rule.pattern.matches(&path) {
                best = Some(rule);
            }
        }
        match best {
            None => RobotsVerdict::free(),
            Some(rule) => {
                let name = if rule.allow { "allow" } else { "disallow" };
                RobotsVerdict { allowed: rule.allow, rule: Some(format!("{name}: {}", rule.pattern.text())) }
            }
        }
    }

    /// `Crawl-delay` of the agent's group, in seconds (finite, not negative, not capped).
    pub fn crawl_delay(&self, user_agent: &str) -> Option<f64> {
        self.delays.get(&self.token(user_agent)).copied()
    }

    /// The sitemaps it names, as written, in order. They belong to no group.
    pub fn sitemaps(&self) -> &[String] {
        &self.sitemaps
    }

    fn group(&self, user_agent: &str) -> &[Range<usize>] {
        self.groups.get(&self.token(user_agent)).map_or(&[], Vec::as_slice)
    }

    /// The key of the group that speaks to the agent: its own, else everyone's.
    fn token(&self, user_agent: &str) -> String {
        let token = product_token(user_agent).to_lowercase();
        if !token.is_empty() && self.groups.contains_key(&token) { token } else { "*".to_owned() }
    }
}

/// Products in a browser-like user agent that name no crawler.
const BROWSERS: &[&str] = &[
    "mozilla",
    "applewebkit",
    "gecko",
    "khtml",
    "chrome",
    "headlesschrome",
    "chromium",
    "safari",
    "firefox",
    "edg",
    "version",
    "mobile",
];

/// The product token in a `User-Agent` header: `crawld` of `crawld/0.1 (+https://…)`, and of
/// `Mozilla/5.0 (…) … Chrome/142.0 Safari/537.36 crawld/0.1`, and `bot` of `Mozilla/5.0 (compatible; bot/1.1)`.
pub fn product_token(user_agent: &str) -> &str {
    let user_agent = user_agent.trim();
    let first = leading_token(user_agent);
    if !first.eq_ignore_ascii_case("mozilla") {
        return first;
    }
    if let Some(at) = user_agent.find("compatible;") {
        return leading_token(user_agent[at + "compatible;".len()..].trim_start());
    }
    let mut inside = 0_i32;
    let mut last = first;
    for word in user_agent.split_ascii_whitespace() {
        let depth = inside;
        inside += word.matches('(').count() as i32 - word.matches(')').count() as i32;
        let token = leading_token(word);
        if depth == 0 && !token.is_empty() && !BROWSERS.iter().any(|b| token.eq_ignore_ascii_case(b)) {
            last = token;
        }
    }
    last
}

/// The longest start that can be a product token. RFC 9309 has letters, `-` and `_`; robots.txt files in
/// the world also name agents with digits and with letters beyond ASCII.
fn leading_token(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_'))).unwrap_or(text.len());
    &text[..end]
}
