//! Connects to a host by name: resolved once, every address checked, connected to what was checked, from here or
//! through the task's proxy.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{own, upstream};
use crate::fetch::CheckedResolver;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::proxy::Upstream;
use crate::model::visit::Refusal;

/// The next address is tried as well when one has not answered in this time (RFC 8305, 5).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Addresses of one host that are tried.
const MOST: usize = 8;

/// A connection to `host`, which may be a name or a literal in any spelling.
///
/// # Errors
/// `Skip` when an address may not be reached: then none of the host's is. `Fail` when there is no
/// address or no connection within `within`.
pub(super) async fn dial(
    resolver: &CheckedResolver,
    proxy: Option<&Upstream>,
    host: &str,
    port: u16,
    within: Duration,
) -> Result<TcpStream, Refusal> {
    let addresses = resolver.addresses(host, port).await.map_err(Refusal::from)?;
    if addresses.iter().any(|address| own::is_ours(*address, port)) {
        return Err(Refusal::Skip(SkipReason::AddressForbidden));
    }
    let connecting = async {
        match proxy {
            Some(proxy) => upstream::dial(proxy, host, port, &addresses).await,
            None => first_to_answer(&addresses, port)
                .await
                .map_err(|error| Refusal::Fail(class_of(&error), format!("cannot connect: {error}"))),
        }
    };
    match timeout(within, connecting).await {
        Ok(Ok(stream)) => {
            // A setting that cannot be made costs a few milliseconds, not the connection.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(why)) => Err(why),
        Err(_) => Err(Refusal::Fail(FailureClass::Timeout, format!("no connection within {} s", within.as_secs()))),
    }
}

/// Tries the addresses in order, without waiting for long for one before the next.
async fn first_to_answer(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut rest = addresses.iter().take(MOST).map(|address| SocketAddr::new(*address, port));
    let mut tries = FuturesUnordered::new();
    let mut last = io::Error::other("no address");
    loop {
        if let Some(address) = rest.next() {
            tries.push(TcpStream::connect(address));
        } else if tries.is_empty() {
            return Err(last);
        }
        let more = rest.len() > 0;
        tokio::select! {
            Some(done) = tries.next() => match done {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            () = sleep(NEXT_AFTER), if more => {}
        }
    }
}

/// What a failed connection means.
pub(super) fn class_of(error: &io::Error) -> FailureClass {
    match error.kind() {
        io::ErrorKind::TimedOut => FailureClass::Timeout,
        _ => FailureClass::Connect,
    }
}
