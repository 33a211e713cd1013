//! A set of hosts, each with everything below it.

use std::collections::HashSet;

/// Hosts and their subdomains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSet(HashSet<String>);

impl HostSet {
    /// From names in any case, with or without a final dot.
    pub fn new<'a>(hosts: impl IntoIterator<Item = &'a str>) -> HostSet {
        HostSet(hosts.into_iter().map(plain).filter(|host| !host.is_empty()).collect())
    }

    /// Whether the host, or one above it, is in the set.
    pub fn contains(&self, host: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let host = plain(host);
        let mut rest = host.as_str();
        loop {
            if self.0.contains(rest) {
                return true;
            }
            match rest.split_once('.') {
                Some((_, above)) => rest = above,
                None => return false,
            }
        }
    }
}

/// Reads a list of hosts: one a line, as in a hosts file (`0.0.0.0 ads.example`) or alone; `#` begins a comment.
pub fn read_list(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut hosts = Vec::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if first.parse::<std::net::IpAddr>().is_ok() {
            hosts.extend(words.map(plain));
        } else {
            hosts.push(plain(first));
        }
    }
    hosts.retain(|host| !["localhost", "localhost.localdomain", "broadcasthost", "local"].contains(&host.as_str()));
    hosts
}

/// A host as it is compared: without brackets and final dot, in lower case.
pub fn plain(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_stands_for_everything_below_it() {
        let set = HostSet::new(["Ads.example.", "tracker.org", "10.0.0.1"]);
        for (host, expected) in [
            ("ads.example", true),
            ("a.b.ADS.example.", true),
            ("bads.example", false),
            ("example", false),
            ("tracker.org", true),
            ("tracker.org.evil", false),
            ("10.0.0.1", true),
            ("", false),
        ] {
            assert_eq!(set.contains(host), expected, "{host}");
        }
        assert!(!HostSet::default().contains("ads.example"));
    }

    #[test]
    fn lists_are_read_as_hosts_files_and_as_plain_ones() {
        let text = "# ads\n0.0.0.0 ads.example b.example # two\n127.0.0.1 localhost\n\nPlain.example\n";
        assert_eq!(read_list(text), ["ads.example", "b.example", "plain.example"]);
    }
}
