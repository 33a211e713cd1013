//! Which hosts and origins are ours. A name that an attacker points at this machine, and a page of anybody else, are not.

use std::net::SocketAddr;

/// The address of a connection's own end, and what the configuration adds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Where the client has connected to.
    pub(super) local: SocketAddr,
    /// Whether it speaks TLS to us.
    pub(super) tls: bool,
    /// `api_origins`.
    pub(super) origins: &'a [String],
}

impl Place<'_> {
    /// Whether a `Host` (or the authority of the request's target) names us: our address, `localhost` where that is
    /// one of its names, or a configured origin's host and port.
    pub(super) fn is_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let default = if self.tls { 443 } else { 80 };
        let own = |name: &str| {
            host == format!("{name}:{}", self.local.port()) || (self.local.port() == default && host == name)
        };
        own(&self.name())
            || (self.local.ip().to_canonical().is_loopback() && own("localhost"))
            || self.origins.iter().any(|origin| authority(origin).is_some_and(|authority| authority == host))
    }

    /// Whether an `Origin` is a page of ours.
    pub(super) fn is_origin(&self, origin: &str) -> bool {
        if self.origins.iter().any(|ours| ours.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let scheme = if self.tls { "https" } else { "http" };
        let own = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
        // What follows is compared as a host is, without the configured ones: their scheme counts too.
        own.is_some_and(|host| Place { origins: &[], ..*self }.is_host(host))
    }

    /// Whether the request's own host is one that a configured origin reaches by HTTPS: a cookie for it is `Secure`.
    pub(super) fn is_secure(&self, host: &str) -> bool {
        let https = |origin: &&String| origin.to_ascii_lowercase().starts_with("https://");
        let mut ours = self.origins.iter().filter(https).filter_map(|origin| authority(origin));
        self.tls || ours.any(|authority| authority == host.to_ascii_lowercase())
    }

    fn name(&self) -> String {
        match self.local.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        }
    }
}

/// Host and port of an origin, in small letters.
fn authority(origin: &str) -> Option<String> {
    origin.split_once("://").map(|(_, authority)| authority.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(local: &str, tls: bool, origins: &[String]) -> (SocketAddr, bool, Vec<String>) {
        (local.parse().unwrap(), tls, origins.to_vec())
    }

    #[test]
    fn only_our_own_names_are_ours() {
        let proxied = ["https://crawl.example".to_owned()];
        let (local, tls, origins) = place("127.0.0.1:27953", false, &proxied);
        let here = Place { local, tls, origins: &origins };
        for host in ["127.0.0.1:27953", "localhost:27953", "LOCALHOST:27953", "crawl.example"] {
            assert!(here.is_host(host), "{host}");
        }
        for host in [
            "",
            "127.0.0.1",
            "localhost",
            "127.0.0.1:80",
            "127.0.0.1:279530",
            "127.0.0.2:27953",
            "localhost.evil:27953",
            "localhost.:27953",
            "evil.example:27953",
            "127.0.0.1.nip.io:27953",
            "2130706433:27953",
            "[::1]:27953",
            "crawl.example:27953",
            "crawl.example.evil",
            "evil@localhost:27953",
            "localhost:27953:80",
        ] {
            assert!(!here.is_host(host), "{host}");
        }
    }

    #[test]
    fn a_page_of_ours_has_our_scheme_host_and_port() {
        let proxied = ["https://crawl.example".to_owned()];
        let (local, tls, origins) = place("127.0.0.1:27953", false, &proxied);
        let here = Place { local, tls, origins: &origins };
        for origin in ["http://127.0.0.1:27953", "http://localhost:27953", "https://crawl.example"] {
            assert!(here.is_origin(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "https://127.0.0.1:27953",
            "http://127.0.0.1",
            "http://127.0.0.1:27954",
            "http://localhost:27953.evil.example",
            "http://localhost.evil:27953",
            "http://crawl.example",
            "https://crawl.example.evil",
            "https://crawl.example:27953",
            "http://127.0.0.1:27953/",
            "file://",
        ] {
            assert!(!here.is_origin(origin), "{origin}");
        }
    }

    #[test]
    fn the_default_port_may_be_left_out_and_ipv6_has_brackets() {
        let (local, tls, origins) = place("[::1]:443", true, &[]);
        let here = Place { local, tls, origins: &origins };
        assert!(here.is_host("[::1]") && here.is_host("[::1]:443") && here.is_host("localhost"));
        assert!(here.is_origin("https://[::1]") && !here.is_origin("http://[::1]"));
        assert!(!here.is_host("::1") && here.is_secure("localhost"));
        let (local, tls, _) = place("[::ffff:10.0.0.1]:80", false, &[]);
        let mapped = Place { local, tls, origins: &[] };
        assert!(mapped.is_host("10.0.0.1") && !mapped.is_host("localhost") && !mapped.is_secure("10.0.0.1"));
        let proxied = ["https://crawl.example".to_owned()];
        assert!(Place { origins: &proxied, ..mapped }.is_secure("crawl.example"));
    }
}
