//! One plain HTTP request to loopback; a connection each.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// An answer, not followed anywhere.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Scheme, authority and path (with query) of an http URL.
pub fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let rest = rest.split('#').next()?;
    let slash = rest.find('/').unwrap_or(rest.len());
    Some((&rest[..slash], if slash == rest.len() { "/" } else { &rest[slash..] }))
}

/// The URL that `reference` means on the page `base`.
pub fn join(base: &str, reference: &str) -> Option<String> {
    url::Url::parse(base).ok()?.join(reference).ok().map(Into::into)
}

/// Asks for a URL on loopback.
///
/// # Errors
/// The name of Chromium's error.
pub fn get(url: &str, agent: &str) -> Result<Answer, &'static str> {
    let (authority, path) = split(url).ok_or("net::ERR_UNKNOWN_URL_SCHEME")?;
    if !authority.starts_with("127.") && !authority.starts_with("localhost") {
        return Err("net::ERR_NAME_NOT_RESOLVED");
    }
    let stream = match authority.contains(':') {
        true => TcpStream::connect(authority),
        false => TcpStream::connect((authority, 80)),
    };
    let stream = stream.map_err(|_| "net::ERR_CONNECTION_REFUSED")?;
    exchange(stream, authority, path, agent)
        .map_err(|_| "net::ERR_CONNECTION_RESET")?
        .ok_or("net::ERR_INVALID_HTTP_RESPONSE")
}

fn exchange(mut stream: TcpStream, authority: &str, path: &str, agent: &str) -> io::Result<Option<Answer>> {
    // HTTP/1.0: the body ends with the connection, and is never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {authority}\r\nuser-agent: {agent}\r\naccept: text/html\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}
