//! Where a browser that somebody else started takes commands.

use std::fmt;

use url::{Host, Url};

/// The debugging endpoint of a running browser. Shows neither path nor query when printed: they can hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct DebugEndpoint {
    /// It is the socket itself (`ws://`); otherwise it is asked for at `/json/version` (`http://`).
    pub is_socket: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl DebugEndpoint {
    /// Reads `http://127.0.0.1:9222` or `ws://127.0.0.1:9222/devtools/browser/ID`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<DebugEndpoint, String> {
        let url = Url::parse(text.trim()).map_err(|_| "must be a URL: http://127.0.0.1:9222, or ws://…".to_owned())?;
        let is_socket = match url.scheme() {
            "ws" => true,
            "http" => false,
            _ => {
                return Err(
                    "must begin with http:// or ws:// (through a tunnel where it has to be encrypted)".to_owned()
                );
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must hold no user name and no password".to_owned());
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err("must name a host".to_owned()),
        };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(DebugEndpoint {
            is_socket,
            host,
            port: url.port_or_known_default().unwrap_or(80),
            path: format!("{}{query}", url.path()),
        })
    }
}

impl fmt::Display for DebugEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_socket { "ws" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for DebugEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_their_tokens_not_shown() {
        #[track_caller]
        fn check(text: &str, expected: Result<(&str, &str), &str>) {
            match (DebugEndpoint::parse(text), expected) {
                (Ok(read), Ok((shown, path))) => {
                    assert_eq!((read.to_string().as_str(), read.path.as_str()), (shown, path), "{text}");
                    assert_eq!(format!("{read:?}"), shown);
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
                (read, expected) => panic!("{text}: {read:?}, not {expected:?}"),
            }
        }
        check("http://127.0.0.1:9222", Ok(("http://127.0.0.1:9222", "/")));
        check("ws://[::1]:9222/devtools/browser/x-y", Ok(("ws://[::1]:9222", "/devtools/browser/x-y")));
        check(" http://browser.example/?token=secret ", Ok(("http://browser.example:80", "/?token=secret")));
        check("wss://browser.example/", Err("http://"));
        check("https://browser.example/", Err("tunnel"));
        check("ws://me:pw@browser.example/", Err("password"));
        check("127.0.0.1:9222", Err("must be"));
        check("/dev/browser", Err("must be a URL"));
    }
}
