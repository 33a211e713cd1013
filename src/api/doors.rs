//! The doors of the API: opened at the start, and said where they are.

use std::io;
use std::path::Path;

use tokio::net::UnixListener;

use crate::api::listener::bind;
use crate::api::tcp::{Tcp, TcpError};
use crate::api::token::{Keys, TokenError};
use crate::config::Config;
use crate::daemon::ApiGround;
use crate::state::atomic_file::{self, Durability, FileError};
use crate::state::paths::{StateDir, StateDirError};

/// Where clients come in.
pub struct Doors {
    /// The socket of the state directory.
    pub(super) unix: UnixListener,
    /// The TCP address with the keys to it, where one is served.
    pub(super) tcp: Option<(Tcp, Keys)>,
    /// Why no TCP address is served although one is wanted.
    pub(super) deaf: Option<String>,
}

/// Why the API is not served over TCP; the Unix socket, and the crawl, do without.
#[derive(Debug, thiserror::Error)]
enum DoorError {
    #[error(transparent)]
    Tcp(#[from] TcpError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    State(#[from] StateDirError),
    #[error(transparent)]
    Address(#[from] FileError),
}

impl Doors {
    /// Opens the Unix socket and, for a process that serves one, the TCP address. That the second cannot be had is
    /// said in the log and in the health, and costs nothing else. Called within the runtime.
    ///
    /// # Errors
    /// The Unix socket cannot be made.
    pub fn open(config: &Config, ground: &ApiGround) -> io::Result<Doors> {
        let unix = bind(&ground.state_dir)?;
        if !ground.network {
            return Ok(Doors { unix, tcp: None, deaf: None });
        }
        let (tcp, deaf) = match network(config, &ground.state_dir) {
            Ok(tcp) => (tcp, None),
            Err(error) => (None, Some(error.to_string())),
        };
        match (&tcp, &deaf, ground.mode) {
            (Some((tcp, _)), ..) => tracing::info!(address = tcp.url(), "the API is served"),
            // Beside a daemon that has the address a crawl by hand is nothing to warn of.
            (None, Some(why), "run") => tracing::warn!(reason = why, "the API is served on the Unix socket only"),
            (None, Some(why), _) => tracing::info!(reason = why, "the API is served on the Unix socket only"),
            (None, None, _) => {}
        }
        Ok(Doors { unix, tcp, deaf })
    }
}

fn network(config: &Config, state_dir: &Path) -> Result<Option<(Tcp, Keys)>, DoorError> {
    let state = StateDir::existing(state_dir)?;
    forget_address(&state);
    let Some(tcp) = Tcp::bind(config)? else { return Ok(None) };
    let keys = Keys::open(&state)?;
    atomic_file::replace(&state.api_address(), format!("{}\n", tcp.url()).as_bytes(), Durability::Atomic)?;
    Ok(Some((tcp, keys)))
}

/// Takes back what says where the API is; one that a killed process left says it wrongly.
pub(super) fn forget_address(state: &StateDir) {
    if let Err(error) = std::fs::remove_file(state.api_address())
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %state.api_address().display(), "the API's address was not taken back");
    }
}
