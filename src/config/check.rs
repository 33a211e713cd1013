//! What single values cannot know: ranges, and keys that must fit each other.

use crate::config::Config;
use crate::model::duration::Span;
use crate::model::endpoint::DebugEndpoint;

/// Every rule that the configuration breaks: the key, and what to write instead.
pub(super) fn check(config: &Config) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    for (key, value) in [
        ("sessions_at_once", config.sessions_at_once),
        ("browser_max_connection_attempts", config.browser_max_connection_attempts),
        ("breaker_failure_threshold", config.breaker_failure_threshold),
        ("per_host", config.per_host),
        ("attempts", config.attempts),
        ("tabs", config.tabs.unwrap_or(1)),
    ] {
        if value == 0 {
            broken.push((key, "must be at least 1 (is 0)".to_owned()));
        }
    }
    for (key, value, least) in [
        ("session_checkpoint_interval", config.session_checkpoint_interval, Span::secs(1)),
        ("session_heartbeat_interval", config.session_heartbeat_interval, Span::millis(100)),
        ("session_health_check_interval", config.session_health_check_interval, Span::secs(1)),
        ("max_session_duration", config.max_session_duration, Span::secs(1)),
        ("stop_timeout", config.stop_timeout, Span::secs(1)),
        ("cdp_timeout", config.cdp_timeout, Span::secs(1)),
        ("page_timeout", config.page_timeout, Span::secs(1)),
        ("breaker_recovery_timeout", config.breaker_recovery_timeout, Span::millis(1)),
        ("resume_max_age", config.resume_max_age, Span::secs(1)),
        ("auto_session_cleanup_age", config.auto_session_cleanup_age, Span::secs(1)),
    ] {
        if value < least {
            broken.push((key, format!("must be at least {least} (is {value})")));
        }
    }
    for (key, value) in [
        ("disk_reserve_percent", config.disk_reserve_percent),
        ("memory_reserve_percent", config.memory_reserve_percent),
    ] {
        if value > 90 {
            broken.push((key, format!("must be at most 90 (is {value})")));
        }
    }
    broken.extend(words(config));
    broken
}

fn words(config: &Config) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    if config.max_delay < config.delay {
        let message = format!("must not be shorter than `delay` ({}, {})", config.max_delay, config.delay);
        broken.push(("max_delay", message));
    }
    if config.breaker_backoff.is_empty() {
        broken.push(("breaker_backoff", "must name at least one wait".to_owned()));
    }
    if config.user_agent.as_deref().is_some_and(|agent| !header_safe(agent)) {
        broken.push(("user_agent", "must be printable ASCII, not empty, at most 1,000 characters".to_owned()));
    }
    if let Some(webhook) = &config.alert_webhook
        && !url::Url::parse(webhook).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    {
        broken.push(("alert_webhook", "must be an http or https URL".to_owned()));
    }
    if let Some(endpoint) = &config.cdp_url {
        if let Err(message) = DebugEndpoint::parse(endpoint) {
            broken.push(("cdp_url", message));
        } else if !config.cdp_unsafe {
            let message = "an attached browser can be held to no address rule: what its pages load reaches private \
                networks and this machine too; set `cdp_unsafe = true` (--cdp-unsafe) to accept that";
            broken.push(("cdp_url", message.to_owned()));
        }
    }
    if let Err(message) = crate::telemetry::parse_filter(&config.log_level) {
        broken.push(("log_level", message));
    }
    broken
}

/// Whether a text can be sent as the value of an HTTP header.
pub(super) fn header_safe(text: &str) -> bool {
    !text.is_empty() && text.len() <= 1000 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
