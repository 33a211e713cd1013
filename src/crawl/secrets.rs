//! Secrets that a task only names: read when a session opens, kept in memory alone.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use rustix::fs::OFlags;

use crate::browser::import_cookies;
use crate::model::conduct::{HeaderPlace, HostHeaders};
use crate::model::login::{Login, LoginStep};
use crate::model::proxy::Upstream;
use crate::model::task::{FetchSpec, TaskSpec};
use crate::model::url::CanonicalUrl;

/// A file beyond this many bytes holds no secret of ours.
const MAX: u64 = 64 << 10;

/// The task's headers by host with their values, basic authentication among them.
///
/// # Errors
/// A reference that leads to nothing, or to what cannot be sent as a header: named, its value unsaid.
pub(super) fn headers(fetch: &FetchSpec) -> Result<HostHeaders, String> {
    let mut all = HostHeaders::default();
    let place = |key: &str, text: &str| {
        HeaderPlace::parse(text).ok_or_else(|| format!("{key}: `{}` is not a host", text.escape_debug()))
    };
    for (host, headers) in &fetch.headers {
        let mut values = Vec::new();
        for (name, value) in headers {
            values.push((name.clone(), resolve(value)?));
        }
        all.add(place("fetch.headers", host)?, values);
    }
    for (host, auth) in &fetch.auth {
        let credentials = BASE64.encode(format!("{}:{}", auth.user, resolve(&auth.password)?));
        all.add(place("fetch.auth", host)?, vec![("Authorization".to_owned(), format!("Basic {credentials}"))]);
    }
    Ok(all)
}

/// The task's proxy with its credentials.
///
/// # Errors
/// A reference that leads to nothing: named, its value unsaid.
pub(super) fn proxy(fetch: &FetchSpec) -> Result<Option<Upstream>, String> {
    let Some(spec) = &fetch.proxy else { return Ok(None) };
    let mut proxy = Upstream::parse(&spec.url).map_err(|why| format!("fetch.proxy.url: {why}"))?;
    proxy.names = spec.names;
    if let Some(user) = &spec.user {
        let password = spec.password.as_deref().map(resolve).transpose()?.unwrap_or_default();
        if user.len().max(password.len()) > 255 {
            return Err("fetch.proxy: user name and password may have 255 bytes each".to_owned());
        }
        proxy.credentials = Some((user.clone(), password));
    }
    Ok(Some(proxy))
}

/// The task's login with what it fills in.
///
/// # Errors
/// A reference that leads to nothing: named, its value unsaid.
pub(super) fn login(spec: &TaskSpec) -> Result<Option<Login>, String> {
    let Some(login) = &spec.login else { return Ok(None) };
    let url = CanonicalUrl::parse(login.url.trim()).map_err(|error| format!("login.url: {error}"))?;
    let mut steps = login.steps.clone();
    for step in &mut steps {
        if let LoginStep::Fill { value, .. } = step {
            *value = lead(value)?;
        }
    }
    let given = login.secrets.iter().map(|(name, value)| Ok((name.clone(), lead(value)?)));
    let given = given.collect::<Result<_, String>>()?;
    let script = login.script.clone().map(|script| (script, given));
    let (success, logged_out) = (login.success.clone(), login.logged_out.clone());
    Ok(Some(Login { url, steps, script, success, logged_out, within: login.timeout.0 }))
}

/// Fills the session's jar with the cookies that the task begins with, before the first browser asks for it.
///
/// # Errors
/// The file is none of cookies, or the jar cannot be written.
pub(super) fn cookies(fetch: &FetchSpec, jar: &Path) -> Result<(), String> {
    let Some(file) = &fetch.cookies_file else { return Ok(()) };
    let cookies =
        import_cookies(Path::new(file), jar).map_err(|error| format!("fetch.cookies_file `{file}`: {error}"))?;
    tracing::info!(cookies, "cookies imported");
    Ok(())
}

/// What a value stands for: itself, or what `env:NAME` or `file:PATH` hold.
fn resolve(value: &str) -> Result<String, String> {
    let found = lead(value)?;
    let sendable = !found.is_empty() && found.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    if sendable { Ok(found) } else { Err(format!("`{value}` holds nothing that can be sent as a header")) }
}

/// Where a reference leads; other values lead to themselves.
fn lead(value: &str) -> Result<String, String> {
    if let Some(name) = value.strip_prefix("env:") {
        std::env::var(name).map_err(|_| format!("`{value}`: the daemon's environment has no such text"))
    } else if let Some(path) = value.strip_prefix("file:") {
        read(path).map_err(|error| format!("`{value}` cannot be read: {error}"))
    } else {
        Ok(value.to_owned())
    }
}

fn read(path: &str) -> io::Result<String> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MAX {
        return Err(io::Error::other("not a regular file of at most 64 KiB"));
    }
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::conduct::BasicAuth;
    use crate::model::proxy::{ProxyNames, ProxySpec};

    #[test]
    fn a_proxy_gets_its_credentials_by_reference() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "open sesame\n").unwrap();
        let mut spec = ProxySpec {
            url: "socks5://proxy.example".into(),
            user: Some("me".into()),
            password: Some(format!("file:{}", path.display())),
            names: ProxyNames::Proxy,
        };
        let of = |spec: &ProxySpec| proxy(&FetchSpec { proxy: Some(spec.clone()), ..FetchSpec::default() });
        let resolved = of(&spec).unwrap().unwrap();
        assert_eq!(resolved.credentials, Some(("me".to_owned(), "open sesame".to_owned())));
        assert_eq!(
            (resolved.names, format!("{resolved:?}")),
            (ProxyNames::Proxy, "socks5://proxy.example:1080".into())
        );
        spec.password = Some("env:CRAWLD_NO_SUCH".into());
        assert!(of(&spec).unwrap_err().contains("env:CRAWLD_NO_SUCH"));
        assert_eq!(proxy(&FetchSpec::default()).unwrap(), None);
    }

    #[test]
    fn references_are_resolved_and_their_values_never_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "open sesame\n").unwrap();
        let reference = format!("file:{}", path.display());
        let mut fetch = FetchSpec::default();
        let auth = BasicAuth { user: "me".into(), password: reference.clone() };
        fetch.auth.insert("a.example".into(), auth);
        fetch.headers.insert("b.example".into(), [("X-Plain".to_owned(), "7".to_owned())].into());
        let resolved = headers(&fetch).unwrap();
        let of = |url: &str| {
            let url = url::Url::parse(url).unwrap();
            resolved.of(&url).into_iter().map(|(n, v)| format!("{n}: {v}")).collect::<Vec<_>>()
        };
        assert_eq!(of("http://a.example/"), ["Authorization: Basic bWU6b3BlbiBzZXNhbWU="]);
        assert_eq!(of("https://b.example/x"), ["X-Plain: 7"]);
        assert!(of("http://c.example/").is_empty());

        std::fs::write(&path, "two\nlines").unwrap();
        let why = headers(&fetch).unwrap_err();
        assert!(why.contains(&reference) && !why.contains("two"), "{why}");
        std::fs::remove_file(&path).unwrap();
        assert!(headers(&fetch).unwrap_err().contains("cannot be read"));
        fetch.auth.clear();
        fetch.headers.insert("b.example".into(), [("X".to_owned(), "env:CRAWLD_NO_SUCH".to_owned())].into());
        assert!(headers(&fetch).unwrap_err().contains("env:CRAWLD_NO_SUCH"));
    }
}
