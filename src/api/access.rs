//! Who may do what: one table, and nothing else decides.

use crate::api::token::Grade;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody: it says nothing that matters.
    Open,
    /// Whoever may look.
    Read,
    /// Whoever may change something.
    Full,
    /// As `Read`, unless the configuration opens it to everybody.
    #[cfg_attr(not(test), expect(dead_code, reason = "there are no metrics yet"))]
    Metrics,
    /// On this machine's Unix socket only: it names files, or ends the process.
    Local,
}

/// As whom a client is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The daemon's own user on the Unix socket, by the kernel's word (`SO_PEERCRED`): whoever is that could as well
    /// edit the task files and the configuration. What a client says of itself counts for no more than this.
    Operator,
    /// Root on the Unix socket, where the daemon is not root: let in, and heard as the API.
    Guest,
    /// By the network, with the token for everything.
    Full,
    /// By the network, with the token for reading.
    ReadOnly,
    /// By the network, without any.
    Nobody,
}

impl From<Option<Grade>> for Standing {
    fn from(grade: Option<Grade>) -> Self {
        match grade {
            Some(Grade::Full) => Standing::Full,
            Some(Grade::ReadOnly) => Standing::ReadOnly,
            None => Standing::Nobody,
        }
    }
}

impl Standing {
    /// Whether it came by the Unix socket.
    pub(super) const fn local(self) -> bool {
        matches!(self, Standing::Operator | Standing::Guest)
    }
}

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Pass,
    /// 401: who is that?
    WhoIsThat,
    /// 403: the token is for reading.
    ReadOnly,
    /// 403: not over the network.
    NotFromThere,
}

/// Decides by the route, the client, and `api_metrics_open`.
pub(super) const fn decide(access: Access, standing: Standing, metrics_open: bool) -> Verdict {
    match (access, standing) {
        (Access::Open, _) | (_, Standing::Operator | Standing::Guest) => Verdict::Pass,
        (Access::Metrics, Standing::Nobody) if metrics_open => Verdict::Pass,
        (_, Standing::Nobody) => Verdict::WhoIsThat,
        (Access::Local, _) => Verdict::NotFromThere,
        (Access::Full, Standing::ReadOnly) => Verdict::ReadOnly,
        (Access::Read | Access::Metrics | Access::Full, Standing::Full | Standing::ReadOnly) => Verdict::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_further_than_the_probes_and_a_reader_changes_nothing() {
        use Access::{Full as Change, Local, Metrics, Open, Read};
        use Standing::{Full, Guest, Nobody, Operator, ReadOnly};
        use Verdict::{NotFromThere, Pass, WhoIsThat};
        #[track_caller]
        fn check(standing: Standing, expected: [Verdict; 5]) {
            let got = [Open, Read, Change, Metrics, Local].map(|access| decide(access, standing, false));
            assert_eq!(got, expected, "{standing:?}");
        }
        check(Nobody, [Pass, WhoIsThat, WhoIsThat, WhoIsThat, WhoIsThat]);
        check(ReadOnly, [Pass, Pass, Verdict::ReadOnly, Pass, NotFromThere]);
        check(Full, [Pass, Pass, Pass, Pass, NotFromThere]);
        check(Guest, [Pass; 5]);
        check(Operator, [Pass; 5]);
        assert_eq!(decide(Metrics, Nobody, true), Pass);
        assert_eq!(decide(Read, Nobody, true), WhoIsThat);
    }
}
