//! Listeners of this process: no browser is ever connected to one, whatever the operator allowed.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use crate::lock::lock;

static OURS: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());

/// Marks an address as a listener of this process, until dropped.
#[derive(Debug)]
pub struct Claim(SocketAddr);

impl Claim {
    /// Claims an address.
    pub fn new(address: SocketAddr) -> Claim {
        lock(&OURS).insert(address);
        Claim(address)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&OURS).remove(&self.0);
    }
}

/// Whether a connection to this address would reach a listener of ours.
pub(super) fn is_ours(address: IpAddr, port: u16) -> bool {
    let address = address.to_canonical();
    lock(&OURS).iter().any(|ours| {
        // A connection to the unspecified address goes to this machine.
        ours.port() == port && (ours.ip() == address || address.is_unspecified() || ours.ip().is_unspecified())
    })
}
