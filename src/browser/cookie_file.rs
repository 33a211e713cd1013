//! Cookies that somebody exported from a browser: the lines of Netscape's format, or a JSON list.

use std::io;
use std::path::Path;

use chromiumoxide::cdp::browser_protocol::network::{CookieParam, TimeSinceEpoch};
use serde::Deserialize;

use super::jar;
use crate::model::cookie::StoredCookie;

/// Puts the cookies of a file into a jar that is not there yet; says how many. A jar that is there knows better.
///
/// # Errors
/// The file cannot be read or holds no cookies, or the jar cannot be written; no value is said.
pub fn import_cookies(from: &Path, jar: &Path) -> io::Result<usize> {
    if jar.exists() {
        return Ok(0);
    }
    let text = jar::read(from)?;
    let cookies = read(&text).ok_or_else(|| {
        io::Error::other("neither Netscape's format (seven columns with tabs) nor a JSON list of cookies")
    })?;
    let stored: Vec<StoredCookie> =
        cookies.iter().filter_map(|cookie| serde_json::from_value(serde_json::to_value(cookie).ok()?).ok()).collect();
    jar::save(jar, &stored)?;
    Ok(cookies.len())
}

/// A cookie as exporters and automation tools write it.
#[derive(Deserialize)]
struct Exported {
    name: String,
    value: String,
    domain: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default, alias = "expirationDate", alias = "expiry")]
    expires: Option<f64>,
    #[serde(default)]
    secure: bool,
    #[serde(default, rename = "httpOnly")]
    http_only: bool,
    #[serde(default, rename = "hostOnly")]
    host_only: Option<bool>,
}

/// A list, or what Playwright calls a storage state.
#[derive(Deserialize)]
#[serde(untagged)]
enum Json {
    List(Vec<Exported>),
    State { cookies: Vec<Exported> },
}

fn read(text: &str) -> Option<Vec<CookieParam>> {
    if text.trim_start().starts_with(['[', '{']) {
        let cookies = match serde_json::from_str(text).ok()? {
            Json::List(cookies) | Json::State { cookies } => cookies,
        };
        return Some(cookies.into_iter().map(param).collect());
    }
    let mut cookies = Vec::new();
    for line in text.lines() {
        let http_only = line.strip_prefix("#HttpOnly_");
        let line = http_only.unwrap_or(line);
        if line.trim().is_empty() || (line.starts_with('#') && http_only.is_none()) {
            continue;
        }
        let columns: Vec<&str> = line.split('\t').collect();
        let [domain, below, path, secure, expires, name, value] = columns.try_into().ok()?;
        cookies.push(param(Exported {
            name: name.to_owned(),
            value: value.trim_end_matches('\r').to_owned(),
            domain: domain.to_owned(),
            path: Some(path.to_owned()),
            expires: expires.parse().ok(),
            secure: secure.eq_ignore_ascii_case("true"),
            http_only: http_only.is_some(),
            host_only: Some(!below.eq_ignore_ascii_case("true")),
        }));
    }
    (!cookies.is_empty()).then_some(cookies)
}

fn param(cookie: Exported) -> CookieParam {
    let mut param = CookieParam::new(cookie.name, cookie.value);
    let path = cookie.path.unwrap_or_else(|| "/".to_owned());
    let host = cookie.domain.trim_start_matches('.');
    if cookie.host_only.unwrap_or(!cookie.domain.starts_with('.')) {
        // Set by URL, or it would become its domain's.
        let scheme = if cookie.secure { "https" } else { "http" };
        param.url = Some(format!("{scheme}://{host}{path}"));
    } else {
        param.domain = Some(format!(".{host}"));
    }
    param.path = Some(path);
    param.secure = Some(cookie.secure);
    param.http_only = Some(cookie.http_only);
    param.expires = cookie.expires.filter(|at| *at > 0.0).map(TimeSinceEpoch::new);
    param
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_export_is_understood() {
        let netscape = "# Netscape HTTP Cookie File\n\n.a.example\tTRUE\t/\tTRUE\t1999999999\tsid\tone\n\
            #HttpOnly_b.example\tFALSE\t/x\tFALSE\t0\tlang\ttwo\n";
        let list = r#"[{"name":"sid","value":"one","domain":".a.example","path":"/","secure":true,"expirationDate":1999999999},
            {"name":"lang","value":"two","domain":"b.example","path":"/x","httpOnly":true,"expires":-1}]"#;
        let state = format!("{{\"cookies\": {list}, \"origins\": []}}");
        for text in [netscape, list, &state] {
            let cookies = read(text).unwrap();
            let seen: Vec<_> = cookies
                .iter()
                .map(|c| (c.name.as_str(), c.value.as_str(), c.domain.as_deref(), c.url.as_deref()))
                .collect();
            let expected =
                [("sid", "one", Some(".a.example"), None), ("lang", "two", None, Some("http://b.example/x"))];
            assert_eq!(seen, expected, "{text}");
            assert_eq!((cookies[0].expires.is_some(), cookies[1].expires.is_some()), (true, false));
            assert_eq!((cookies[0].secure, cookies[1].http_only), (Some(true), Some(true)));
        }
        for text in ["", "no cookies", "{}", "[1]"] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_jar_that_is_there_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (from, jar) = (dir.path().join("cookies.txt"), dir.path().join("cookies.json"));
        assert!(import_cookies(&from, &jar).is_err());
        std::fs::write(&from, "a.example\tFALSE\t/\tFALSE\t0\tsid\tone\n").unwrap();
        assert_eq!(import_cookies(&from, &jar).unwrap(), 1);
        assert_eq!(super::jar::load(&jar).len(), 1);
        assert_eq!(import_cookies(&from, &jar).unwrap(), 0);
    }
}
