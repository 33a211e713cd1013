//! The TCP address: bound, guarded by TLS where the configuration asks for it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::api::listener::{Guarded, pause, place};
use crate::config::{Config, api_address};

/// Connections at once at most, where the process has the descriptors for them.
const CONNECTIONS: usize = 1_280;
/// The crawl keeps three of four descriptors for itself.
const SHARE_OF_DESCRIPTORS: u64 = 4;
/// A client must have shaken hands within this time.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why the API is not served over TCP.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// `api_listen` cannot be read; checked with the configuration.
    #[error("api_listen: {0}")]
    Address(String),
    /// Somebody else has the address, or it is none of this machine.
    #[error("cannot listen on {address}: {source}: set another `api_listen`, or `off`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key.
    #[error("`{path}` cannot be used for TLS: {why}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A bound address.
pub struct Tcp {
    listener: TcpListener,
    /// Where it listens, the port that the system chose included.
    pub(super) local: SocketAddr,
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
}

impl Tcp {
    /// Binds what the configuration asks for; `None`: nothing.
    ///
    /// # Errors
    /// The address is taken, or certificate and key cannot be used.
    pub fn bind(config: &Config) -> Result<Option<Tcp>, TcpError> {
        let Some(address) = api_address(&config.api_listen).map_err(TcpError::Address)? else { return Ok(None) };
        let tls = match (&config.api_tls_cert, &config.api_tls_key) {
            (Some(certificate), Some(key)) => Some(acceptor(certificate, key)?),
            _ => None,
        };
        let at = |source| TcpError::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(at)?;
        listener.set_nonblocking(true).map_err(at)?;
        let listener = TcpListener::from_std(listener).map_err(at)?;
        let local = listener.local_addr().map_err(at)?;
        Ok(Some(Tcp { listener, local, tls, places: Arc::new(Semaphore::new(connections())) }))
    }

    /// How it is reached: `http://127.0.0.1:27953`.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.local)
    }

    /// The acceptor of TLS, where it is spoken here.
    pub(super) fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.clone()
    }

    /// The next client, with both ends of its connection. Cancel-safe.
    pub(super) async fn accept(&self) -> (Guarded<TcpStream>, SocketAddr, SocketAddr) {
        loop {
            let place = place(&self.places).await;
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let Ok(local) = stream.local_addr() else { continue };
                    // Answers are small: none waits for the next.
                    let _ = stream.set_nodelay(true);
                    return (Guarded::new(stream, place), local, peer);
                }
                Err(error) => pause(&error).await,
            }
        }
    }
}

/// How many clients may be connected at once.
pub(super) fn connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share = limit.map_or(u64::MAX, |descriptors| descriptors / SHARE_OF_DESCRIPTORS);
    usize::try_from(share).unwrap_or(usize::MAX).clamp(16, CONNECTIONS)
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TcpError> {
    let bad = |path: &Path, why: String| TcpError::Tls { path: path.to_owned(), why };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| bad(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(certificate, "it holds no certificate".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| bad(certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
