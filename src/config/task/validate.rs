//! What a task must satisfy beyond the types of its values.

use crate::config::Problem;
use crate::config::check::header_safe;
use crate::model::duration::Span;
use crate::model::task::{FetchMode, ScopePreset, TaskSpec};
use crate::model::text::escape_control;
use crate::model::url::CanonicalUrl;
use crate::policy::address::AddressPolicy;

/// More seeds belong into a sitemap.
const MAX_SEEDS: usize = 100_000;

/// Every rule that the task breaks; the places are keys (`scope.include`).
pub fn validate(spec: &TaskSpec) -> Vec<Problem> {
    let mut broken = Vec::new();
    let mut say = |place: &str, message: String| broken.push(Problem::new(place, message));
    match spec.seeds.len() {
        0 => say("seeds", "at least one http or https URL is needed".to_owned()),
        many if many > MAX_SEEDS => {
            say("seeds", format!("at most {MAX_SEEDS} are taken (are {many}): put the rest into a sitemap"))
        }
        _ => {}
    }
    for (key, urls) in [("seeds", &spec.seeds), ("sitemaps", &spec.sitemaps)] {
        for text in urls {
            if let Err(message) = web_url(text) {
                say(key, message);
            }
        }
    }
    for (key, patterns) in [("scope.include", &spec.scope.include), ("scope.exclude", &spec.scope.exclude)] {
        for pattern in patterns {
            if let Err(error) = regex::Regex::new(pattern) {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or("").trim_start_matches("error: ");
                say(
                    key,
                    format!("`{}` is not a regular expression: {}", escape_control(pattern), escape_control(reason)),
                );
            }
        }
    }
    if spec.scope.preset == ScopePreset::Custom && spec.scope.include.is_empty() {
        say("scope.include", "the preset `custom` needs at least one include pattern".to_owned());
    }
    for (name, field) in &spec.extract.fields {
        let (selector, _) = field.parts();
        if let Err(error) = scraper::Selector::parse(selector) {
            // The parser asks to be told about what it does not expect; the user should not be.
            let reason =
                error.to_string().replace("Unexpected error occurred. Please report this to the developer\n", "");
            let (selector, reason) = (escape_control(selector), escape_control(&reason));
            let place = format!("extract.fields.{}", escape_control(name));
            say(&place, format!("`{selector}` is not a CSS selector ({reason})"));
        }
    }
    for network in &spec.allow_private_networks {
        if let Err(error) = AddressPolicy::new(std::slice::from_ref(network), &[]) {
            let error = error.to_string();
            say("allow_private_networks", error.trim_start_matches("allow_private_networks: ").to_owned());
        }
    }
    let extract = &spec.extract;
    for (key, asked) in [
        ("extract.screenshot", extract.screenshot.is_some()),
        ("extract.pdf", extract.pdf),
        ("extract.console", extract.console.is_some()),
        ("extract.requests", extract.requests),
    ] {
        if asked && spec.fetch.mode != FetchMode::Browser {
            let mode = spec.fetch.mode;
            say(key, format!("needs `fetch.mode = \"browser\"` (is `{mode}`): only a browser shows a page"));
        }
    }
    if extract.hash_routes && spec.fetch.mode == FetchMode::Http {
        say("extract.hash_routes", "needs a browser, which alone follows them (`fetch.mode` is `http`)".to_owned());
    }
    numbers(spec, &mut say);
    super::conduct::check(spec, &mut say);
    super::login::check(spec, &mut say);
    broken
}

fn numbers(spec: &TaskSpec, say: &mut impl FnMut(&str, String)) {
    for (key, value) in [
        ("politeness.per_host", u64::from(spec.politeness.per_host)),
        ("fetch.attempts", u64::from(spec.fetch.attempts)),
        ("fetch.tabs", u64::from(spec.fetch.tabs.unwrap_or(1))),
        ("fetch.max_body_bytes", spec.fetch.max_body_bytes),
        ("extract.capture_max_bytes", spec.extract.capture_max_bytes),
        ("limits.max_pages", spec.limits.max_pages.unwrap_or(1)),
        ("limits.max_bytes", spec.limits.max_bytes.unwrap_or(1)),
        ("limits.max_failures", spec.limits.max_failures.unwrap_or(1)),
        ("scope.host_budget", spec.scope.host_budget),
        ("scope.pattern_budget", spec.scope.pattern_budget),
        ("scope.query_budget", spec.scope.query_budget),
    ] {
        if value == 0 {
            say(key, "must be at least 1 (is 0); leave it out for the default".to_owned());
        }
    }
    if spec.fetch.page_timeout < Span::secs(1) {
        say("fetch.page_timeout", format!("must be at least 1s (is {})", spec.fetch.page_timeout));
    }
    if spec.rerun_after < Span::secs(1) {
        say("rerun_after", format!("must be at least 1s (is {})", spec.rerun_after));
    }
    if spec.limits.max_session_duration.is_some_and(|limit| limit < Span::secs(1)) {
        say("limits.max_session_duration", "must be at least 1s".to_owned());
    }
    if spec.politeness.max_delay < spec.politeness.delay {
        let (most, least) = (spec.politeness.max_delay, spec.politeness.delay);
        say("politeness.max_delay", format!("must not be shorter than `delay` ({most}, {least})"));
    }
    for (key, text) in
        [("fetch.user_agent", &spec.fetch.user_agent), ("fetch.accept_language", &spec.fetch.accept_language)]
    {
        if text.as_deref().is_some_and(|text| !header_safe(text)) {
            say(key, "must be printable ASCII, not empty, at most 1,000 characters".to_owned());
        }
    }
}

fn web_url(text: &str) -> Result<(), String> {
    let shown = escape_control(text);
    match CanonicalUrl::parse(text.trim()) {
        Ok(_) => Ok(()),
        Err(_) if !text.contains("://") && text.trim_matches(['.', '/']).contains('.') => {
            Err(format!("`{shown}` is not a URL: write https://{shown}"))
        }
        Err(error) => Err(format!("{}: write an http or https URL", escape_control(&error.to_string()))),
    }
}
