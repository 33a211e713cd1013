//! What went wrong with a request, as a failure class.

use std::error::Error;
use std::io;

use super::resolve::ResolveError;
use crate::model::outcome::FailureClass;

/// Causes of an error that are looked at; error chains are short.
const MAX_CHAIN: usize = 16;

/// Why a request brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The host has an address that may not be reached.
    Forbidden,
    /// It failed: class and words.
    Failed(FailureClass, String),
}

impl Fault {
    /// A passed deadline.
    pub(super) fn timeout(what: &str) -> Fault {
        Fault::Failed(FailureClass::Timeout, what.to_owned())
    }

    /// From what reqwest says.
    pub(super) fn of(error: &reqwest::Error) -> Fault {
        let fallback = if error.is_timeout() {
            FailureClass::Timeout
        } else if error.is_dns() {
            FailureClass::Dns
        } else if error.is_connect() {
            FailureClass::Connect
        } else {
            FailureClass::Protocol
        };
        judge(error, fallback)
    }
}

/// Walks the causes from the outside in; the innermost that says something decides.
fn judge(error: &(dyn Error + 'static), fallback: FailureClass) -> Fault {
    let mut class = fallback;
    let mut words: Vec<String> = Vec::new();
    let mut cause = Some(error);
    for _ in 0..MAX_CHAIN {
        let Some(error) = cause else { break };
        if let Some(ResolveError::Forbidden { .. }) = error.downcast_ref() {
            return Fault::Forbidden;
        }
        if let Some(found) = class_of(error) {
            class = found;
        }
        // Outer errors often repeat the words of inner ones.
        let said = error.to_string();
        if !words.iter().any(|w| w.contains(&said)) {
            words.push(said);
        }
        cause = inner(error);
    }
    // The outermost only names the request and its URL, which the record has anyway.
    let start = usize::from(words.len() > 1);
    Fault::Failed(class, words[start..].join(": ").escape_debug().to_string())
}

/// The next cause. `io::Error` hides the error it wraps from `source`.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
        None => error.source(),
    }
}

fn class_of(error: &(dyn Error + 'static)) -> Option<FailureClass> {
    if error.is::<ResolveError>() {
        return Some(FailureClass::Dns);
    }
    if error.is::<rustls::Error>() {
        return Some(FailureClass::Tls);
    }
    let io_error = error.downcast_ref::<io::Error>()?;
    Some(match io_error.kind() {
        io::ErrorKind::TimedOut => FailureClass::Timeout,
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied => FailureClass::Connect,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, error: io::Error, fallback: FailureClass, expected: FailureClass) {
        match judge(&error, fallback) {
            Fault::Failed(class, _) => assert_eq!(class, expected, "{name}"),
            Fault::Forbidden => panic!("{name}: forbidden"),
        }
    }

    #[test]
    fn classes_follow_the_innermost_cause() {
        use FailureClass::*;
        let io = |kind| io::Error::new(kind, "x");
        check("refused", io(io::ErrorKind::ConnectionRefused), Protocol, Connect);
        check("reset", io(io::ErrorKind::ConnectionReset), Protocol, Connect);
        check("unreachable", io(io::ErrorKind::NetworkUnreachable), Protocol, Connect);
        check("timed out", io(io::ErrorKind::TimedOut), Connect, Timeout);
        check("unknown io keeps the stage", io(io::ErrorKind::InvalidData), Protocol, Protocol);
        check("unknown io while connecting", io(io::ErrorKind::UnexpectedEof), Connect, Connect);
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        check("certificate", io::Error::new(io::ErrorKind::InvalidData, tls), Connect, Tls);
        let dns = ResolveError::Unknown { host: "h".into(), reason: "r".into() };
        check("name", io::Error::other(dns), Connect, Dns);
    }

    #[test]
    fn a_forbidden_address_is_no_failure() {
        let forbidden = ResolveError::Forbidden { host: "h".into(), address: "127.0.0.1".parse().unwrap() };
        assert_eq!(judge(&io::Error::other(forbidden), FailureClass::Connect), Fault::Forbidden);
    }

    #[test]
    fn words_of_the_outside_world_are_escaped() {
        let Fault::Failed(_, words) = judge(&io::Error::other("a\x1b[31mb\n"), FailureClass::Protocol) else {
            panic!()
        };
        assert_eq!(words, "a\\u{1b}[31mb\\n");
    }
}
