//! Addresses that a crawl may connect to: public ones, and what the operator has named.

mod class;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};

use crate::model::task::NamedAddress;
pub use class::{AddressClass, classify};

/// Which addresses a task's visits may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    networks: Vec<Network>,
    named: Vec<NamedAddress>,
}

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {}{}", .class.describe(), .class.advice())]
pub struct AddressRefusal {
    /// The address.
    pub address: IpAddr,
    /// What kind of address it is, or the one inside it.
    pub class: AddressClass,
}

/// Why an entry of `allow_private_networks` is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor a network.
    #[error(
        "allow_private_networks: `{0}` is not an address or a network: write 10.0.0.0/8, 192.168.1.5 or fd00::/8 (names are not taken)"
    )]
    NotAnAddress(String),
    /// A prefix length that the address family does not have.
    #[error("allow_private_networks: `{0}` has an impossible prefix length: 0 to {1} bits")]
    PrefixLength(String, u8),
    /// Address bits behind the prefix.
    #[error("allow_private_networks: `{0}` has address bits behind its prefix: did you mean `{1}`?")]
    HostBits(String, String),
}

/// A network in CIDR notation; IPv4 and IPv6 never match each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    base: IpAddr,
    bits: u8,
}

impl AddressPolicy {
    /// Reads a task's grants: networks, and the hosts that the operator named with the addresses they had then.
    ///
    /// # Errors
    /// When an entry is not an address or a CIDR network.
    pub fn new(allow_private_networks: &[String], named: &[NamedAddress]) -> Result<AddressPolicy, NetworkError> {
        let networks = allow_private_networks.iter().map(|text| Network::parse(text)).collect::<Result<_, _>>()?;
        Ok(AddressPolicy { networks, named: named.to_vec() })
    }

    /// Whether a connection to `address` may be made for `host` (as in the URL) and `port`.
    ///
    /// To be asked about the very address that is connected to, after resolving; a name that resolved to a
    /// public address a moment ago proves nothing. Addresses of cloud metadata services are refused whatever
    /// was granted: what they hand out are the machine's own keys.
    ///
    /// # Errors
    /// With the class of the address when it may not.
    pub fn permits(&self, host: &str, port: u16, address: IpAddr) -> Result<(), AddressRefusal> {
        let class = classify(address);
        if class == AddressClass::Public {
            return Ok(());
        }
        // `::ffff:10.0.0.1` is 10.0.0.1 to the kernel. The other embeddings are routes of their own, and only a
        // grant of the IPv6 network itself opens them.
        let plain = address.to_canonical();
        let granted = self.networks.iter().any(|network| network.contains(plain))
            || self.named.iter().any(|named| {
                named.port == port
                    && same_host(&named.host, host)
                    && named.addresses.iter().any(|known| known.to_canonical() == plain)
            });
        if granted && class != AddressClass::Metadata { Ok(()) } else { Err(AddressRefusal { address, class }) }
    }
}

fn same_host(a: &str, b: &str) -> bool {
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
    bare(a) == bare(b)
}

impl Network {
    fn parse(text: &str) -> Result<Network, NetworkError> {
        let shown = || text.chars().take(80).collect::<String>().escape_debug().to_string();
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let base: IpAddr = address.parse().map_err(|_| NetworkError::NotAnAddress(shown()))?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            // `parse` would take a plus sign.
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().ok().filter(|n| *n <= width).ok_or_else(|| NetworkError::PrefixLength(shown(), width))?
            }
            Some(_) => return Err(NetworkError::NotAnAddress(shown())),
        };
        let network = Network { base: masked(base, bits), bits };
        if network.base != base {
            return Err(NetworkError::HostBits(shown(), format!("{}/{bits}", network.base)));
        }
        // A mapped IPv4 network is the IPv4 network.
        match base {
            IpAddr::V6(v6) if bits >= 96 && v6.to_ipv4_mapped().is_some() => {
                Ok(Network { base: base.to_canonical(), bits: bits - 96 })
            }
            _ => Ok(network),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.base.is_ipv4() == address.is_ipv4() && masked(address, self.bits) == self.base
    }
}

/// The address with everything behind the first `bits` bits cleared.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}
