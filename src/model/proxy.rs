//! A proxy between crawld and the sites of a task: as written, and as used.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::model::outcome::closed_list;

closed_list! {
    /// Who turns the names of sites into addresses.
    #[derive(Default)]
    ProxyNames {
        /// crawld: it checks the addresses, and asks the proxy for a connection to one of them.
        #[default]
        Here = "here",
        /// The proxy, which is given the names; where they lead cannot be checked.
        Proxy = "proxy",
    }
}

/// A proxy, as a task names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxySpec {
    /// `http://HOST:PORT` (asked by CONNECT for every connection) or `socks5://HOST:PORT`.
    pub url: String,
    /// The user name that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the password is: `env:NAME` or `file:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Who looks names up.
    #[serde(default)]
    pub names: ProxyNames,
}

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// By CONNECT (RFC 9110, 9.3.6).
    Http,
    /// By SOCKS5 (RFC 1928).
    Socks5,
}

/// A proxy, as it is used. Shows no password when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    /// How it is spoken to.
    pub kind: ProxyKind,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// Who looks names up.
    pub names: ProxyNames,
}

impl Upstream {
    /// Reads a proxy's URL; it has no credentials yet.
    ///
    /// # Errors
    /// What to write instead; nothing of a password that stands in it.
    pub fn parse(text: &str) -> Result<Upstream, String> {
        let url = Url::parse(text.trim()).map_err(|_| "must be http://HOST:PORT or socks5://HOST:PORT".to_owned())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must hold no credentials: `user` and `password` are for them".to_owned());
        }
        let (kind, port) = match url.scheme() {
            "http" => (ProxyKind::Http, url.port_or_known_default()),
            "socks5" => (ProxyKind::Socks5, url.port().or(Some(1080))),
            _ => return Err("must begin with http:// or socks5://".to_owned()),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("must end with the port".to_owned());
        }
        // A scheme that is not of the web leaves its host as it is written.
        let host = match url.host() {
            Some(Host::Domain(name)) => Host::parse(name).map_err(|_| "must name a host".to_owned())?,
            Some(Host::Ipv4(address)) => Host::Ipv4(address),
            Some(Host::Ipv6(address)) => Host::Ipv6(address),
            None => return Err("must name a host".to_owned()),
        };
        let host = match host {
            Host::Domain(name) => name,
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Ok(Upstream { kind, host, port: port.unwrap_or(80), credentials: None, names: ProxyNames::Here })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5",
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_and_hold_no_credentials() {
        #[track_caller]
        fn check(text: &str, expected: Result<&str, &str>) {
            match (Upstream::parse(text), expected) {
                (Ok(read), Ok(shown)) => assert_eq!(read.to_string(), shown, "{text}"),
                (Err(why), Err(part)) => assert!(why.contains(part) && !why.contains("secret"), "{text}: {why}"),
                (read, expected) => panic!("{text}: {read:?}, not {expected:?}"),
            }
        }
        check("http://proxy.example:3128", Ok("http://proxy.example:3128"));
        check("http://proxy.example", Ok("http://proxy.example:80"));
        check("socks5://127.0.0.1", Ok("socks5://127.0.0.1:1080"));
        check("socks5://[::1]:9050/", Ok("socks5://[::1]:9050"));
        check("socks5://0x7f.1:9050", Ok("socks5://127.0.0.1:9050"));
        check("http://me:secret@proxy.example:3128", Err("credentials"));
        check("socks4://proxy.example:1", Err("socks5://"));
        check("https://proxy.example", Err("http://"));
        check("http://proxy.example/path", Err("port"));
        check("proxy.example:3128", Err("http://"));
        check("nonsense", Err("HOST:PORT"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let mut upstream = Upstream::parse("http://p.example:1").unwrap();
        upstream.credentials = Some(("me".into(), "secret".into()));
        assert!(!format!("{upstream:?} {upstream}").contains("secret"));
    }
}
