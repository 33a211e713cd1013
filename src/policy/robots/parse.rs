//! The robots.txt parser: lines to groups, forgiving what webmasters write.

use std::borrow::Cow;

use super::pattern::Pattern;
use super::{MAX_BYTES, Robots, Rule, leading_token};

/// What a line says.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Key {
    UserAgent,
    Allow,
    Disallow,
    CrawlDelay,
    Sitemap,
}

/// Spellings, in lower case; the misspelt ones are common enough that a large search engine knows them.
const KEYS: &[(&str, Key)] = &[
    ("user-agent", Key::UserAgent),
    ("useragent", Key::UserAgent),
    ("user agent", Key::UserAgent),
    ("allow", Key::Allow),
    ("disallow", Key::Disallow),
    ("dissallow", Key::Disallow),
    ("dissalow", Key::Disallow),
    ("disalow", Key::Disallow),
    ("diasllow", Key::Disallow),
    ("disallaw", Key::Disallow),
    ("crawl-delay", Key::CrawlDelay),
    ("sitemap", Key::Sitemap),
    ("site-map", Key::Sitemap),
];

/// The group being read.
#[derive(Default)]
struct Group {
    agents: Vec<String>,
    /// So many of `agents` a `Crawl-delay` line has spoken to.
    delayed: usize,
    first_rule: usize,
    /// A rule was seen, so the next `user-agent` line starts another group. Other lines do not end one.
    has_rules: bool,
}

pub(super) fn parse(body: &[u8]) -> Robots {
    let text = decode(body);
    let mut robots = Robots::default();
    let mut group = Group::default();
    for (key, value) in text.split(['\n', '\r']).filter_map(key_and_value) {
        match key {
            Key::UserAgent => {
                if group.has_rules {
                    close(&mut robots, &mut group);
                }
                group.agents.push(agent(value));
            }
            // Rules before the first group speak to nobody.
            Key::Allow | Key::Disallow if group.agents.is_empty() => {}
            Key::Allow | Key::Disallow => {
                group.has_rules = true;
                push_rule(&mut robots.rules, key == Key::Allow, value);
            }
            Key::CrawlDelay => delay(&mut robots, &mut group, value),
            Key::Sitemap if value.is_empty() => {}
            Key::Sitemap => robots.sitemaps.push(value.to_owned()),
        }
    }
    close(&mut robots, &mut group);
    robots.groups.remove("");
    robots.delays.remove("");
    robots
}

/// An empty value matches nothing.
fn push_rule(rules: &mut Vec<Rule>, allow: bool, value: &str) {
    if value.is_empty() {
        return;
    }
    rules.push(Rule { allow, pattern: Pattern::new(value) });
    if let Some(pattern) = Pattern::of_index(value).filter(|_| allow) {
        rules.push(Rule { allow, pattern });
    }
}

/// Books the group's rules for each of its agents; several groups of one agent add up.
fn close(robots: &mut Robots, group: &mut Group) {
    let range = group.first_rule..robots.rules.len();
    for agent in group.agents.drain(..) {
        let ranges = robots.groups.entry(agent).or_default();
        if !range.is_empty() && ranges.last() != Some(&range) {
            ranges.push(range.clone());
        }
    }
    *group = Group { first_rule: robots.rules.len(), ..Group::default() };
}

/// A delay is for the agents above it that have none yet.
fn delay(robots: &mut Robots, group: &mut Group, value: &str) {
    let Some(seconds) = value.parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0) else { return };
    for agent in &group.agents[group.delayed..] {
        robots.delays.entry(agent.clone()).or_insert(seconds);
    }
    group.delayed = group.agents.len();
}

/// The agent of a `user-agent` line: `*`, or a product token in lower case (empty when it is neither).
fn agent(value: &str) -> String {
    match value.strip_prefix('*') {
        Some(rest) if !rest.starts_with(|c: char| !c.is_whitespace()) => "*".to_owned(),
        _ => leading_token(value).to_lowercase(),
    }
}

/// Splits a line at its colon; where that is missing, at the white space between exactly two words.
fn key_and_value(line: &str) -> Option<(Key, &str)> {
    let blank = |c: char| c.is_ascii_whitespace() || c == '\0' || c == '\u{b}';
    let line = line.split_once('#').map_or(line, |(line, _)| line).trim_matches(blank);
    let (name, value) = match line.split_once(':') {
        Some(parts) => parts,
        None => line.split_once(blank).filter(|(_, value)| !value.trim_start_matches(blank).contains(blank))?,
    };
    let name = name.trim_matches(blank);
    let (_, key) = KEYS.iter().find(|(spelling, _)| name.eq_ignore_ascii_case(spelling))?;
    Some((*key, value.trim_matches(blank)))
}

/// The text of the body: cut at the last full line inside the limit, without a byte-order mark. UTF-16 with
/// a mark is understood, because some editors write it; other bytes that are not UTF-8 spoil only their line.
fn decode(body: &[u8]) -> Cow<'_, str> {
    let cut = if body.len() > MAX_BYTES {
        let window = &body[..MAX_BYTES];
        let end = window.iter().rposition(|b| matches!(b, b'\n' | b'\r')).map_or(0, |at| at + 1);
        &window[..end]
    } else {
        body
    };
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        Cow::Owned(String::from_utf16_lossy(&units))
    };
    match cut {
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest),
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ => String::from_utf8_lossy(cut),
    }
}
