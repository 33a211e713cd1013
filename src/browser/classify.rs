//! What Chromium's network errors mean for a visit.

use crate::model::outcome::FailureClass;

/// Beginnings of Chromium's error names, the first that fits decides.
const BY_PREFIX: &[(&str, FailureClass)] = &[
    ("NAME_NOT_RESOLVED", FailureClass::Dns),
    ("NAME_RESOLUTION_FAILED", FailureClass::Dns),
    ("DNS_", FailureClass::Dns),
    ("ICANN_NAME_COLLISION", FailureClass::Dns),
    ("TIMED_OUT", FailureClass::Timeout),
    ("CONNECTION_TIMED_OUT", FailureClass::Timeout),
    ("SSL_", FailureClass::Tls),
    ("CERT_", FailureClass::Tls),
    ("BAD_SSL_CLIENT_AUTH_CERT", FailureClass::Tls),
    ("CT_", FailureClass::Tls),
    ("CONNECTION_", FailureClass::Connect),
    ("ADDRESS_", FailureClass::Connect),
    ("INTERNET_DISCONNECTED", FailureClass::Connect),
    ("NETWORK_", FailureClass::Connect),
    ("SOCKET_NOT_CONNECTED", FailureClass::Connect),
    ("SOCKS_CONNECTION", FailureClass::Connect),
    ("PROXY_", FailureClass::Connect),
    ("TUNNEL_CONNECTION_FAILED", FailureClass::Connect),
    ("TEMPORARILY_THROTTLED", FailureClass::Throttled),
    ("TOO_MANY_REDIRECTS", FailureClass::TooManyRedirects),
    // The server closed without an answer: as good as not connected.
    ("EMPTY_RESPONSE", FailureClass::Connect),
    ("HTTP2_", FailureClass::Protocol),
    ("QUIC_", FailureClass::Protocol),
    ("INVALID_", FailureClass::Protocol),
    ("RESPONSE_", FailureClass::Protocol),
    ("CONTENT_", FailureClass::Protocol),
    ("INCOMPLETE_", FailureClass::Protocol),
    ("UNEXPECTED", FailureClass::Protocol),
    ("UNSAFE_REDIRECT", FailureClass::Protocol),
    ("UNKNOWN_URL_SCHEME", FailureClass::Protocol),
    ("UNSAFE_PORT", FailureClass::Protocol),
    ("ZSTD_", FailureClass::Protocol),
];

/// The class of an error text such as `net::ERR_NAME_NOT_RESOLVED`.
pub(super) fn net_error(text: &str) -> FailureClass {
    let name = text.trim_start_matches("net::").trim_start_matches("ERR_");
    let found = BY_PREFIX.iter().find(|(prefix, _)| name.starts_with(prefix));
    found.map_or(FailureClass::Browser, |(_, class)| *class)
}

/// Whether an error text tells only that the proxy had no answer; the proxy knows why.
pub(super) fn says_nothing(text: &str) -> bool {
    let name = text.trim_start_matches("net::").trim_start_matches("ERR_");
    ["EMPTY_RESPONSE", "TUNNEL_", "PROXY_", "CONNECTION_CLOSED", "CONNECTION_RESET", "CONNECTION_FAILED", "FAILED"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net_errors_have_a_class() {
        #[track_caller]
        fn check(text: &str, expected: FailureClass) {
            assert_eq!(net_error(text), expected, "{text}");
        }
        check("net::ERR_NAME_NOT_RESOLVED", FailureClass::Dns);
        check("net::ERR_CONNECTION_REFUSED", FailureClass::Connect);
        check("net::ERR_CONNECTION_RESET", FailureClass::Connect);
        check("net::ERR_CONNECTION_TIMED_OUT", FailureClass::Timeout);
        check("net::ERR_TIMED_OUT", FailureClass::Timeout);
        check("net::ERR_CERT_AUTHORITY_INVALID", FailureClass::Tls);
        check("net::ERR_SSL_PROTOCOL_ERROR", FailureClass::Tls);
        check("net::ERR_ADDRESS_UNREACHABLE", FailureClass::Connect);
        check("net::ERR_EMPTY_RESPONSE", FailureClass::Connect);
        check("net::ERR_HTTP2_PROTOCOL_ERROR", FailureClass::Protocol);
        check("net::ERR_CONTENT_DECODING_FAILED", FailureClass::Protocol);
        check("net::ERR_TOO_MANY_REDIRECTS", FailureClass::TooManyRedirects);
        check("net::ERR_SOMETHING_NEW", FailureClass::Browser);
    }
}
