//! Connections through the task's proxy: to an address that was checked, or to a name where the task leaves names to
//! the proxy.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::own;
use crate::model::outcome::FailureClass;
use crate::model::proxy::{ProxyKind, Upstream};
use crate::model::visit::Refusal;

/// Addresses of one host that the proxy is asked for.
const MOST: usize = 3;

/// The proxy itself is nearer than any site.
const PROXY_WITHIN: Duration = Duration::from_secs(5);

/// The head of a proxy's answer to CONNECT.
const HEAD_MAX: usize = 16 << 10;

/// Where a connection is to lead.
#[derive(Debug, Clone, Copy)]
enum To<'a> {
    Address(SocketAddr),
    Name(&'a str, u16),
}

/// A connection to `host` through the proxy: to the first of `addresses` that it reaches, or by name where there are
/// none. The caller sets the deadline.
///
/// # Errors
/// The proxy cannot be had ([`FailureClass::Proxy`]: nothing of the site), or it reaches no address of the host.
pub(super) async fn dial(
    upstream: &Upstream,
    host: &str,
    port: u16,
    addresses: &[IpAddr],
) -> Result<TcpStream, Refusal> {
    if addresses.is_empty() {
        return ask(upstream, To::Name(host, port)).await;
    }
    // Many proxies have no way by IPv6.
    let (first, then): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().copied().partition(IpAddr::is_ipv4);
    let mut last = None;
    for address in first.into_iter().chain(then).take(MOST) {
        match ask(upstream, To::Address(SocketAddr::new(address, port))).await {
            Err(Refusal::Fail(class, why)) if class != FailureClass::Proxy => last = Some(Refusal::Fail(class, why)),
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| Refusal::Fail(FailureClass::Connect, "no address".to_owned())))
}

async fn ask(upstream: &Upstream, to: To<'_>) -> Result<TcpStream, Refusal> {
    let connecting = timeout(PROXY_WITHIN, TcpStream::connect((upstream.host.as_str(), upstream.port)));
    let mut stream = match connecting.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(no_proxy(upstream, &format!("no connection: {error}"))),
        Err(_) => return Err(no_proxy(upstream, "no connection in time")),
    };
    if stream.peer_addr().is_ok_and(|peer| own::is_ours(peer.ip(), peer.port())) {
        return Err(no_proxy(upstream, "that is crawld itself"));
    }
    let spoken = match upstream.kind {
        ProxyKind::Http => connect(&mut stream, upstream, to).await,
        ProxyKind::Socks5 => socks5(&mut stream, upstream, to).await,
    };
    spoken.map(|()| stream).map_err(|broken| match broken {
        Broken::Site(why) => Refusal::Fail(FailureClass::Connect, format!("the proxy {upstream} answers: {why}")),
        Broken::Proxy(why) => no_proxy(upstream, &why),
    })
}

fn no_proxy(upstream: &Upstream, why: &str) -> Refusal {
    Refusal::Fail(FailureClass::Proxy, format!("the proxy {upstream} cannot be used: {why}"))
}

/// Why the proxy gave no connection.
enum Broken {
    /// It could not, or would not, reach the site.
    Site(String),
    /// It did not do a proxy's work at all.
    Proxy(String),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Broken {
        Broken::Proxy(error.to_string())
    }
}

async fn connect(stream: &mut TcpStream, upstream: &Upstream, to: To<'_>) -> Result<(), Broken> {
    let target = match to {
        To::Address(address) => address.to_string(),
        To::Name(host, port) => format!("{host}:{port}"),
    };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some((user, password)) = &upstream.credentials {
        request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(format!("{user}:{password}"))));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let head = head(stream).await?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    match status {
        Some(200..=299) => Ok(()),
        Some(407) => Err(Broken::Proxy("it wants other credentials (407)".to_owned())),
        Some(status) => Err(Broken::Site(format!("{status} to CONNECT"))),
        None => Err(Broken::Proxy("it does not speak HTTP".to_owned())),
    }
}

/// Reads a head and nothing behind it: that is the site's.
async fn head(stream: &mut TcpStream) -> Result<String, Broken> {
    let mut head = Vec::new();
    let mut ahead = [0u8; 1024];
    while head.len() < HEAD_MAX {
        let seen = stream.peek(&mut ahead).await?;
        if seen == 0 {
            return Err(Broken::Proxy("it closed the connection".to_owned()));
        }
        let before = head.len();
        head.extend_from_slice(&ahead[..seen]);
        let end = memchr::memmem::find(&head[before.saturating_sub(3)..], b"\r\n\r\n");
        let end = end.map(|at| before.saturating_sub(3) + at + 4);
        let taken = end.unwrap_or(head.len()) - before;
        stream.read_exact(&mut ahead[..taken]).await?;
        if let Some(end) = end {
            head.truncate(end);
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
    }
    Err(Broken::Proxy("its answer is too long".to_owned()))
}

async fn socks5(stream: &mut TcpStream, upstream: &Upstream, to: To<'_>) -> Result<(), Broken> {
    // Methods: none, and user name with password where there is one (RFC 1929).
    let hello: &[u8] = if upstream.credentials.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
    stream.write_all(hello).await?;
    let mut chosen = [0u8; 2];
    stream.read_exact(&mut chosen).await?;
    match (chosen, &upstream.credentials) {
        ([5, 0], _) => {}
        ([5, 2], Some((user, password))) => {
            let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or(u8::MAX)], text.as_bytes()].concat();
            stream.write_all(&[vec![1], text(user), text(password)].concat()).await?;
            let mut verdict = [0u8; 2];
            stream.read_exact(&mut verdict).await?;
            if verdict[1] != 0 {
                return Err(Broken::Proxy("it wants other credentials".to_owned()));
            }
        }
        ([5, _], _) => return Err(Broken::Proxy("it wants credentials".to_owned())),
        _ => return Err(Broken::Proxy("it does not speak SOCKS5".to_owned())),
    }
    let (mut ask, port) = match to {
        To::Address(SocketAddr::V4(to)) => ([&[5, 1, 0, 1], &to.ip().octets()[..]].concat(), to.port()),
        To::Address(SocketAddr::V6(to)) => ([&[5, 1, 0, 4], &to.ip().octets()[..]].concat(), to.port()),
        To::Name(host, port) => {
            let length =
                u8::try_from(host.len()).map_err(|_| Broken::Site("the name is too long for it".to_owned()))?;
            ([&[5, 1, 0, 3, length], host.as_bytes()].concat(), port)
        }
    };
    ask.extend(port.to_be_bytes());
    stream.write_all(&ask).await?;
    let mut answer = [0u8; 4];
    stream.read_exact(&mut answer).await?;
    if answer[1] != 0 {
        return Err(Broken::Site(reply(answer[1]).to_owned()));
    }
    // The address that it uses itself, which says nothing to us.
    let rest = match answer[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        _ => return Err(Broken::Proxy("it does not speak SOCKS5".to_owned())),
    };
    let mut bound = [0u8; 257];
    stream.read_exact(&mut bound[..rest + 2]).await?;
    Ok(())
}

/// Replies of a SOCKS5 proxy (RFC 1928, 6).
fn reply(code: u8) -> &'static str {
    match code {
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "too many hops",
        7 => "it makes no connections",
        8 => "it knows no such kind of address",
        _ => "it failed",
    }
}
