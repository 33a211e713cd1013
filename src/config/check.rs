//! What single values cannot know: ranges, and keys that must fit each other.

use std::net::SocketAddr;

use crate::config::Config;
use crate::model::duration::Span;
use crate::model::endpoint::DebugEndpoint;
use crate::model::text::escape_control;

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
    broken.extend(api(config));
    broken
}

/// Where the API listens, and who may call it what.
fn api(config: &Config) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    match api_address(&config.api_listen) {
        Ok(Some(address)) if !address.ip().is_loopback() && config.api_tls_cert.is_none() && !config.api_plain => {
            let message = format!(
                "{address} is reached from other machines, and without TLS tokens can be read on the way: set \
                 `api_tls_cert` and `api_tls_key`, or `api_plain = true` to accept that"
            );
            broken.push(("api_listen", message));
        }
        Ok(_) => {}
        Err(message) => broken.push(("api_listen", message)),
    }
    for origin in &config.api_origins {
        if !is_origin(origin) {
            let message = format!(
                "`{}` is no origin: write https://crawl.example.org, with its port if it has one, and nothing behind it",
                escape_control(origin)
            );
            broken.push(("api_origins", message));
        }
    }
    match (&config.api_tls_cert, &config.api_tls_key) {
        (Some(_), None) => broken.push(("api_tls_key", "must be set with `api_tls_cert`".to_owned())),
        (None, Some(_)) => broken.push(("api_tls_cert", "must be set with `api_tls_key`".to_owned())),
        _ => {}
    }
    broken
}

/// Where `api_listen` says to listen; `None`: nowhere but on the Unix socket.
///
/// # Errors
/// It is neither an address with a port nor `off`, as a sentence.
pub fn api_address(listen: &str) -> Result<Option<SocketAddr>, String> {
    match listen.trim() {
        "off" | "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            format!("`{}` is no address with a port: write 127.0.0.1:27953, [::1]:27953 or off", escape_control(text))
        }),
    }
}

/// Whether it is scheme, host and port of a web page, spelled as browsers send them.
fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text.to_ascii_lowercase()
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_not_opened_to_the_network_by_a_slip() {
        #[track_caller]
        fn check(name: &str, change: fn(&mut Config), expected: Option<&str>) {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(api(&config).first().map(|(key, _)| *key), expected, "{name}");
        }
        check("as shipped", |_| {}, None);
        check("the socket alone", |c| c.api_listen = "off".into(), None);
        check("a name", |c| c.api_listen = "localhost:1".into(), Some("api_listen"));
        check("no port", |c| c.api_listen = "127.0.0.1".into(), Some("api_listen"));
        check("everywhere", |c| c.api_listen = "0.0.0.0:27953".into(), Some("api_listen"));
        check("another loopback address", |c| c.api_listen = "[::1]:0".into(), None);
        check("everywhere, accepted", |c| (c.api_listen, c.api_plain) = ("0.0.0.0:1".into(), true), None);
        check("a certificate without its key", |c| c.api_tls_cert = Some("a".into()), Some("api_tls_key"));
        check("a key without its certificate", |c| c.api_tls_key = Some("a".into()), Some("api_tls_cert"));
        check("an origin", |c| c.api_origins = vec!["https://crawl.example:8443".into()], None);
        check("a page", |c| c.api_origins = vec!["https://crawl.example/x".into()], Some("api_origins"));
        check("a host", |c| c.api_origins = vec!["crawl.example".into()], Some("api_origins"));
        check("every origin", |c| c.api_origins = vec!["*".into()], Some("api_origins"));
        check("a slash too many", |c| c.api_origins = vec!["https://crawl.example/".into()], Some("api_origins"));
    }
}
