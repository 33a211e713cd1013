//! Requests that somebody has lost patience with.

use tokio::sync::broadcast;

/// More than this at a time, and some are missed: they are named again.
const QUEUE: usize = 64;

/// What is to be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    host: String,
    port: u16,
    /// Without one, a connection as a whole.
    path: Option<String>,
}

/// Tells all connections of a session what is to be cut.
#[derive(Debug)]
pub(super) struct Cuts(broadcast::Sender<Cut>);

impl Default for Cuts {
    fn default() -> Self {
        Cuts(broadcast::channel(QUEUE).0)
    }
}

impl Cuts {
    /// Cuts a request for `url`, or the tunnels to its host where `here` is another.
    pub(super) fn cut(&self, url: &str, here: &str) {
        let Ok(parsed) = url::Url::parse(url) else { return };
        let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else { return };
        let path = match parsed.scheme() {
            "http" => Some(parsed[url::Position::BeforePath..url::Position::AfterQuery].to_owned()),
            _ if url::Url::parse(here).is_ok_and(|here| here.host_str() == Some(host)) => return,
            _ => None,
        };
        // Nobody listens: nothing to cut.
        let _ = self.0.send(Cut { host: host.to_owned(), port, path });
    }

    /// Returns when this one is cut.
    pub(super) async fn of(&self, host: &str, port: u16, path: Option<&str>) {
        let mut told = self.0.subscribe();
        loop {
            match told.recv().await {
                Ok(cut) if cut.host == host && cut.port == port && cut.path.as_deref() == path => return,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_meant_is_cut() {
        #[track_caller]
        fn check(url: &str, (host, port, path): (&str, u16, Option<&str>), expected: bool) {
            let cuts = Cuts::default();
            let mut waiting = waiting_for(&cuts, host, port, path);
            cuts.cut(url, "https://here.example/page");
            assert_eq!(waiting(), expected, "{url}");
        }
        check("http://h/a.js?x#y", ("h", 80, Some("/a.js?x")), true);
        check("http://h:81/a.js", ("h", 80, Some("/a.js")), false);
        check("http://h/b.js", ("h", 80, Some("/a.js")), false);
        check("https://h/a.js", ("h", 443, None), true);
        check("https://h/a.js", ("h", 443, Some("/a.js")), false);
        check("https://here.example/a.js", ("here.example", 443, None), false);
        check("no address", ("h", 80, None), false);
    }

    /// Begins to wait; says whether it is over.
    fn waiting_for<'a>(cuts: &'a Cuts, host: &'a str, port: u16, path: Option<&'a str>) -> impl FnMut() -> bool + 'a {
        use futures_util::FutureExt;
        let mut waiting = Box::pin(cuts.of(host, port, path));
        assert!((&mut waiting).now_or_never().is_none());
        move || (&mut waiting).now_or_never().is_some()
    }
}
