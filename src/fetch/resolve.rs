//! Names to addresses, resolved once and checked: what is connected to is what was checked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::proxy::ProxyNames;
use crate::model::url::CanonicalUrl;
use crate::model::visit::{BoxFuture, Refusal};
use crate::policy::address::AddressPolicy;

/// Deadline of one name lookup.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(10);

/// Addresses of one name that are looked at; more are ignored.
const MAX_ADDRESSES: usize = 64;

tokio::task_local! {
    /// The port of the request being sent: reqwest's resolver is told only the name.
    static PORT: u16;
}

/// Which addresses may be reached.
pub trait AddressRules: Send + Sync {
    /// Whether a request for `host` (name or literal) and `port` may go to `address`.
    fn permits(&self, host: &str, port: u16, address: IpAddr) -> bool;
}

impl AddressRules for AddressPolicy {
    fn permits(&self, host: &str, port: u16, address: IpAddr) -> bool {
        AddressPolicy::permits(self, host, port, address).is_ok()
    }
}

impl<R: AddressRules + ?Sized> AddressRules for Arc<R> {
    fn permits(&self, host: &str, port: u16, address: IpAddr) -> bool {
        R::permits(self, host, port, address)
    }
}

/// Where names are looked up.
pub trait Lookup: Send + Sync {
    /// Every address of the name.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).take(MAX_ADDRESSES).collect())
        })
    }
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name does not resolve.
    #[error("`{host}` does not resolve: {reason}")]
    Unknown {
        /// The name.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// One of its addresses may not be reached, so none is.
    #[error("`{host}` has the address {address}, which is not allowed (see allow_private_networks)")]
    Forbidden {
        /// The name or literal.
        host: String,
        /// The first forbidden address.
        address: IpAddr,
    },
}

impl From<ResolveError> for Refusal {
    fn from(error: ResolveError) -> Refusal {
        match error {
            ResolveError::Unknown { .. } => Refusal::Fail(FailureClass::Dns, error.to_string()),
            ResolveError::Forbidden { .. } => Refusal::Skip(SkipReason::AddressForbidden),
        }
    }
}

/// Resolves and checks.
#[derive(Clone)]
pub struct CheckedResolver {
    rules: Arc<dyn AddressRules>,
    lookup: Arc<dyn Lookup>,
    names: ProxyNames,
}

impl std::fmt::Debug for CheckedResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckedResolver").finish_non_exhaustive()
    }
}

impl CheckedResolver {
    /// By the session's rules.
    pub fn new(rules: Arc<dyn AddressRules>, lookup: Arc<dyn Lookup>) -> Self {
        CheckedResolver { rules, lookup, names: ProxyNames::Here }
    }

    /// Leaves names to somebody else, where the task says so: then only literal addresses are checked.
    #[must_use]
    pub fn names_by(self, names: ProxyNames) -> Self {
        CheckedResolver { names, ..self }
    }

    /// The addresses of a URL's host, every one of them permitted.
    pub(super) async fn check(&self, url: &CanonicalUrl) -> Result<Vec<IpAddr>, ResolveError> {
        let (host, port) = target(&Url::parse(url.as_str()).map_err(|_| no_host(url.as_str()))?)?;
        self.of(host, port).await
    }

    /// The addresses of a host as a browser names it (a name, or a literal in any spelling), every one of
    /// them permitted: whoever connects to these connects to what was checked. Empty for a name that somebody else
    /// looks up.
    ///
    /// # Errors
    /// An unknown name, or a set with a forbidden address in it.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, ResolveError> {
        self.of(Host::parse(host).map_err(|_| no_host(host))?, port).await
    }

    async fn of(&self, host: Host<String>, port: u16) -> Result<Vec<IpAddr>, ResolveError> {
        let name = host_name(&host);
        match (literal(&host), self.names) {
            (Some(address), _) => judge(&*self.rules, &name, port, vec![address]),
            (None, ProxyNames::Here) => by_name(&*self.rules, &*self.lookup, name, port).await,
            // Whoever looks it up, this name is loopback (RFC 6761, 6.3).
            (None, ProxyNames::Proxy) if is_localhost(&name) => {
                judge(&*self.rules, &name, port, vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
            }
            (None, ProxyNames::Proxy) => Ok(Vec::new()),
        }
    }

    /// Checks a literal address without looking anything up; reqwest connects to those by itself.
    pub(super) fn check_literal(&self, url: &Url) -> Result<u16, ResolveError> {
        let (host, port) = target(url)?;
        if let Some(address) = literal(&host) {
            judge(&*self.rules, &host_name(&host), port, vec![address])?;
        }
        Ok(port)
    }
}

/// Resolves and checks a URL's host by the given rules and the system's resolver.
///
/// # Errors
/// `Skip(AddressForbidden)` when at least one address is forbidden (a set that mixes allowed and
/// forbidden addresses is how rebinding looks), `Fail(Dns)` for a name that does not resolve.
pub async fn check_address<R: AddressRules + ?Sized>(rules: &R, url: &CanonicalUrl) -> Result<Vec<IpAddr>, Refusal> {
    check_with(rules, &SystemLookup, url).await.map_err(Refusal::from)
}

async fn check_with<R>(rules: &R, lookup: &dyn Lookup, url: &CanonicalUrl) -> Result<Vec<IpAddr>, ResolveError>
where
    R: AddressRules + ?Sized,
{
    let (host, port) = target(&Url::parse(url.as_str()).map_err(|_| no_host(url.as_str()))?)?;
    match literal(&host) {
        Some(address) => judge(rules, &host_name(&host), port, vec![address]),
        None => by_name(rules, lookup, host_name(&host), port).await,
    }
}

async fn by_name<R>(rules: &R, lookup: &dyn Lookup, host: String, port: u16) -> Result<Vec<IpAddr>, ResolveError>
where
    R: AddressRules + ?Sized,
{
    let unknown = |reason: String| ResolveError::Unknown { host: host.escape_debug().to_string(), reason };
    let answer = tokio::time::timeout(LOOKUP_DEADLINE, lookup.lookup(host.clone())).await;
    let addresses = match answer {
        Ok(Ok(addresses)) if addresses.is_empty() => return Err(unknown("no address".to_owned())),
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(unknown(error.to_string())),
        Err(_) => return Err(unknown(format!("no answer within {} s", LOOKUP_DEADLINE.as_secs()))),
    };
    judge(rules, &host, port, addresses)
}

fn judge<R>(rules: &R, host: &str, port: u16, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, ResolveError>
where
    R: AddressRules + ?Sized,
{
    match addresses.iter().find(|address| !rules.permits(host, port, **address)) {
        Some(address) => Err(ResolveError::Forbidden { host: host.escape_debug().to_string(), address: *address }),
        None => Ok(addresses),
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        // Called while the request's own task polls its connection, inside `with_port`. Port 0 is
        // named by nobody, so a call from elsewhere gets public addresses only.
        let port = PORT.try_with(|port| *port).unwrap_or(0);
        let this = self.clone();
        Box::pin(async move {
            let addresses = by_name(&*this.rules, &*this.lookup, name.as_str().to_owned(), port).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

/// Runs a request so that the resolver knows the port that it is for.
pub(super) async fn with_port<F: Future>(port: u16, request: F) -> F::Output {
    PORT.scope(port, request).await
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn target(url: &Url) -> Result<(Host<String>, u16), ResolveError> {
    let host = url.host().map(|host| host.to_owned());
    host.zip(url.port_or_known_default()).ok_or_else(|| no_host(url.as_str()))
}

fn no_host(url: &str) -> ResolveError {
    ResolveError::Unknown { host: url.escape_debug().to_string(), reason: "no host".to_owned() }
}

fn literal(host: &Host<String>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(*address)),
        Host::Ipv6(address) => Some(IpAddr::V6(*address)),
    }
}

/// As it stands in the URL, without the brackets of IPv6.
fn host_name(host: &Host<String>) -> String {
    match host {
        Host::Domain(name) => name.clone(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}
