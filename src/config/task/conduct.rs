//! The rules for what a task says of headers, secrets, blocking, budgets and behaviours.

use std::path::Path;

use crate::config::Problem;
use crate::config::check::header_safe;
use crate::model::conduct::{ApiGrant, HeaderPlace, viewport};
use crate::model::duration::Span;
use crate::model::proxy::Upstream;
use crate::model::task::{TaskOrigin, TaskSpec};
use crate::model::text::escape_control;
use crate::model::visit::HOP_BY_HOP;

/// Headers that belong to the request itself, to crawld's own settings, or to the cookie jar; beside those of a
/// connection.
const NOT_OURS: &[&str] = &["accept-language", "content-length", "cookie", "expect", "host", "user-agent"];

/// Words in the name of a header whose value is a secret.
pub(super) const SECRET: &[&str] = &["auth", "key", "token", "secret", "password", "session", "credential"];

/// A behaviour script's bytes.
pub(super) const SCRIPT_MAX: usize = 256 << 10;
/// Hosts in a block list.
const HOSTS_MAX: usize = 200_000;
/// The longest that a page's behaviours may take.
const BEHAVIORS_MAX: Span = Span::secs(600);

/// Every rule that the task breaks; the places are keys.
pub(super) fn check(spec: &TaskSpec, say: &mut impl FnMut(&str, String)) {
    for (host, headers) in &spec.fetch.headers {
        place("fetch.headers", host, say);
        for (name, value) in headers {
            if let Some(message) = header(name, value) {
                say("fetch.headers", message);
            }
        }
    }
    for (host, auth) in &spec.fetch.auth {
        place("fetch.auth", host, say);
        if auth.user.contains(':') || !header_safe(&auth.user) {
            say("fetch.auth", "`user` must be printable ASCII without a colon, and not empty".to_owned());
        }
        match is_reference(&auth.password) {
            Some(true) => {}
            Some(false) => say("fetch.auth", "`password`: `file:` needs an absolute path, `env:` a name".to_owned()),
            None => say("fetch.auth", "`password` names its secret: write env:NAME or file:/PATH".to_owned()),
        }
    }
    if let Some(proxy) = &spec.fetch.proxy {
        if let Err(message) = Upstream::parse(&proxy.url) {
            say("fetch.proxy", format!("`url` {message}"));
        }
        if proxy.user.as_deref().is_some_and(|user| user.contains(':') || !header_safe(user)) {
            say("fetch.proxy", "`user` must be printable ASCII without a colon, and not empty".to_owned());
        }
        match proxy.password.as_deref().map(is_reference) {
            None => {}
            Some(_) if proxy.user.is_none() => say("fetch.proxy", "`password` needs a `user`".to_owned()),
            Some(Some(true)) => {}
            Some(Some(false)) => {
                say("fetch.proxy", "`password`: `file:` needs an absolute path, `env:` a name".to_owned());
            }
            Some(None) => say("fetch.proxy", "`password` names its secret: write env:NAME or file:/PATH".to_owned()),
        }
    }
    if spec.fetch.viewport.as_deref().is_some_and(|text| viewport(text).is_none()) {
        say("fetch.viewport", "must be a width and a height of 1 to 10000 pixels: 1280x1024".to_owned());
    }
    if spec.fetch.device_scale.is_some_and(|scale| !(0.1..=10.0).contains(&scale)) {
        say("fetch.device_scale", "must be between 0.1 and 10".to_owned());
    }
    if let Some(zone) = &spec.fetch.timezone
        && !is_timezone(zone)
    {
        say("fetch.timezone", format!("`{}` is not a time zone: write Europe/Vienna or UTC", escape_control(zone)));
    }
    if spec.fetch.cookies_file.as_deref().is_some_and(|path| !Path::new(path).is_absolute()) {
        say("fetch.cookies_file", "must be an absolute path (beside a task file its name will do)".to_owned());
    }
    page(spec, say);
}

fn page(spec: &TaskSpec, say: &mut impl FnMut(&str, String)) {
    let page = &spec.page;
    if page.block_hosts.len() > HOSTS_MAX {
        say("page.block_hosts", format!("at most {HOSTS_MAX} hosts are taken (are {})", page.block_hosts.len()));
    }
    let bare = |host: &&String| !matches!(HeaderPlace::parse(host), Some(place) if place.port.is_none() && place.scheme.is_none());
    if let Some(bad) = page.block_hosts.iter().find(bare) {
        let bad = escape_control(bad);
        say("page.block_hosts", format!("`{bad}` is not a host (`file:LIST` is read in task files only)"));
    }
    for (key, value) in [("page.max_requests", page.max_requests.map(u64::from)), ("page.max_bytes", page.max_bytes)] {
        if value == Some(0) {
            say(key, "must be at least 1 (is 0); leave it out for no limit".to_owned());
        }
    }
    if page.behavior_timeout < Span::secs(1) || page.behavior_timeout > BEHAVIORS_MAX {
        say("page.behavior_timeout", format!("must be 1s to 10m (is {})", page.behavior_timeout));
    }
    if let Some(script) = &page.behavior_script {
        if script.len() > SCRIPT_MAX {
            say("page.behavior_script", format!("at most {SCRIPT_MAX} bytes are taken (are {})", script.len()));
        } else if script.trim().is_empty() || is_script_file(script) {
            say("page.behavior_script", "must be the script itself (files are read in task files only)".to_owned());
        }
    }
}

/// What only somebody with the rights of this user's files may ask for: an API body names no secret, no file and no
/// private network, unless the daemon's configuration grants it.
pub(super) fn check_origin(spec: &TaskSpec, origin: TaskOrigin, grants: &[ApiGrant]) -> Vec<Problem> {
    if origin != TaskOrigin::Api {
        return Vec::new();
    }
    let mut broken = Vec::new();
    if !spec.allow_private_networks.is_empty() && !grants.contains(&ApiGrant::PrivateNetworks) {
        let message = "is not granted to the API: name the networks in a task file or on a command line, or set \
            `api_grants = [\"private_networks\"]` in crawld.toml";
        broken.push(Problem::new("allow_private_networks", message));
    }
    if grants.contains(&ApiGrant::LocalFiles) {
        return broken;
    }
    let message = "secrets are named in task files and on command lines only, not by the API";
    if spec.fetch.cookies_file.is_some() {
        broken.push(Problem::new("fetch.cookies_file", message));
    }
    broken.extend(super::login::check_origin(spec));
    if spec.fetch.proxy.is_some() {
        let message = "a proxy is named in task files and on command lines only, not by the API";
        broken.push(Problem::new("fetch.proxy", message));
    }
    if !spec.fetch.auth.is_empty() {
        broken.push(Problem::new("fetch.auth", message));
    }
    if spec.fetch.headers.values().flat_map(|headers| headers.values()).any(|value| is_reference(value).is_some()) {
        broken.push(Problem::new("fetch.headers", message));
    }
    broken
}

/// Whether the value of `behavior_script` is the name of a file.
pub(super) fn is_script_file(value: &str) -> bool {
    value.ends_with(".js") && !value.contains(['\n', ';', '(', '{'])
}

fn place(key: &str, host: &str, say: &mut impl FnMut(&str, String)) {
    if HeaderPlace::parse(host).is_none() {
        let host = escape_control(host);
        say(key, format!("`{host}` is not a host: write example.org, example.org:8080 or https://example.org"));
    }
}

fn header(name: &str, value: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let shown = escape_control(name);
    if name.is_empty() || !name.bytes().all(token) {
        return Some(format!("`{shown}` is not the name of a header"));
    }
    if HOP_BY_HOP.iter().chain(NOT_OURS).any(|not| *not == lower) {
        return Some(format!(
            "`{shown}` is not set this way: it has a setting of its own, or belongs to the connection"
        ));
    }
    match is_reference(value) {
        Some(true) => None,
        Some(false) => Some(format!("`{shown}`: `file:` needs an absolute path, `env:` a name")),
        None if SECRET.iter().any(|word| lower.contains(word)) => {
            Some(format!("`{shown}` names its secret instead of holding it: write env:NAME or file:/PATH"))
        }
        None => (!header_safe(value)).then(|| format!("`{shown}` must be printable ASCII, at most 1,000 characters")),
    }
}

/// `Some(false)`: a reference that leads nowhere.
pub(super) fn is_reference(value: &str) -> Option<bool> {
    if let Some(name) = value.strip_prefix("env:") {
        return Some(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    }
    value.strip_prefix("file:").map(|path| Path::new(path).is_absolute())
}

/// By the machine's own list, where it has one.
fn is_timezone(zone: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    let list = Path::new("/usr/share/zoneinfo");
    !zone.is_empty()
        && zone.bytes().all(plain)
        && zone.starts_with(|first: char| first.is_ascii_uppercase())
        && (!list.join("UTC").exists() || list.join(zone).is_file())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(section: &str, value: Value) -> TaskSpec {
        serde_json::from_value(json!({"seeds": ["http://a/"], section: value})).unwrap()
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        #[track_caller]
        fn check_one(section: &str, value: Value, expected: &[&str]) {
            let mut said = Vec::new();
            check(&spec(section, value.clone()), &mut |place, message| said.push(format!("{place}: {message}")));
            let fits =
                said.len() == expected.len() && said.iter().zip(expected).all(|(said, part)| said.contains(part));
            assert!(fits, "{value}: {said:#?}");
        }
        let fetch = |value| ("fetch", value);
        let headers = |name: &str, value: &str| fetch(json!({"headers": {"a.example": {name: value}}}));
        for ((section, value), expected) in [
            (headers("X-Plain", "seven"), &[][..]),
            (headers("X-Api-Key", "env:KEY"), &[]),
            (headers("Authorization", "file:/run/secret"), &[]),
            (headers("Authorization", "Bearer abc"), &["names its secret"]),
            (headers("X-Token", "file:relative"), &["absolute"]),
            (headers("Cookie", "a=1"), &["not set this way"]),
            (headers("bad name", "x"), &["not the name"]),
            (headers("X-Plain", "a\nb"), &["printable"]),
            (fetch(json!({"headers": {"*": {}}})), &["is not a host"]),
            (fetch(json!({"auth": {"a": {"user": "me", "password": "env:PW"}}})), &[]),
            (fetch(json!({"auth": {"a": {"user": "m:e", "password": "plain"}}})), &["colon", "names its secret"]),
            (fetch(json!({"proxy": {"url": "socks5://p:1", "user": "me", "password": "env:PW"}})), &[]),
            (
                fetch(json!({"proxy": {"url": "http://me:pw@p:1", "user": "m:e", "password": "plain"}})),
                &["no credentials", "colon", "names its secret"],
            ),
            (fetch(json!({"proxy": {"url": "socks4://p:1", "password": "env:PW"}})), &["socks5://", "needs a `user`"]),
            (fetch(json!({"viewport": "800x600", "device_scale": 2, "timezone": "UTC"})), &[]),
            (
                fetch(json!({"viewport": "800", "device_scale": 0, "timezone": "Mars"})),
                &["1280x1024", "0.1", "time zone"],
            ),
            (("page", json!({"block_hosts": ["ads.example"], "behavior_script": "1 + 1"})), &[]),
            (("page", json!({"block_hosts": ["file:/x", "a:80"]})), &["is not a host"]),
            (("page", json!({"max_requests": 0, "max_bytes": 0})), &["at least 1", "at least 1"]),
            (("page", json!({"behavior_timeout": "11m", "behavior_script": "x.js"})), &["10m", "the script itself"]),
        ] {
            check_one(section, value, expected);
        }
    }

    #[test]
    fn the_api_asks_only_for_what_is_granted() {
        let auth = spec("fetch", json!({"auth": {"a": {"user": "me", "password": "env:PW"}}}));
        let header = spec("fetch", json!({"headers": {"a": {"X-Token": "file:/etc/shadow"}}}));
        let proxy = spec("fetch", json!({"proxy": {"url": "http://127.0.0.1:631"}}));
        let cookies = spec("fetch", json!({"cookies_file": "/etc/passwd"}));
        let networks = spec("allow_private_networks", json!(["127.0.0.0/8"]));
        let mut login = spec("fetch", json!({}));
        let described = json!({"url": "http://a/", "steps": [{"click": "b"}], "success": "x"});
        login.login = serde_json::from_value(described).unwrap();
        let (files, private) = (ApiGrant::LocalFiles, ApiGrant::PrivateNetworks);
        for (spec, key, grant, other) in [
            (login, "login", files, private),
            (auth, "fetch.auth", files, private),
            (header, "fetch.headers", files, private),
            (proxy, "fetch.proxy", files, private),
            (cookies, "fetch.cookies_file", files, private),
            (networks, "allow_private_networks", private, files),
        ] {
            for grants in [&[][..], &[other]] {
                assert_eq!(check_origin(&spec, TaskOrigin::Api, grants)[0].place, key);
            }
            assert!(check_origin(&spec, TaskOrigin::Api, &[grant]).is_empty(), "{key}");
            assert!(check_origin(&spec, TaskOrigin::Command, &[]).is_empty(), "{key}");
        }
        assert!(check_origin(&spec("fetch", json!({"headers": {"a": {"X": "7"}}})), TaskOrigin::Api, &[]).is_empty());
    }
}
