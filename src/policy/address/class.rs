//! What kind of address an address is, by the IANA special-purpose registries (RFC 6890 and its updates).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::outcome::closed_list;

closed_list! {
    /// The kinds of address, as far as they matter to a crawler.
    AddressClass {
        /// Reachable by everybody, and meant to be.
        Public = "public",
        /// This machine.
        Loopback = "loopback",
        /// RFC 1918, unique local and site-local addresses.
        Private = "private",
        /// This link.
        LinkLocal = "link_local",
        /// Shared by a provider's customers (RFC 6598).
        CarrierNat = "carrier_nat",
        /// A group.
        Multicast = "multicast",
        /// No address; many systems take it for this machine.
        Unspecified = "unspecified",
        /// For examples and measurements.
        Documentation = "documentation",
        /// Set aside for other uses.
        Reserved = "reserved",
        /// A cloud's metadata or host service.
        Metadata = "metadata",
    }
}

impl AddressClass {
    pub(super) const fn describe(self) -> &'static str {
        match self {
            AddressClass::Public => "a public address",
            AddressClass::Loopback => "a loopback address",
            AddressClass::Private => "a private address",
            AddressClass::LinkLocal => "a link-local address",
            AddressClass::CarrierNat => "a carrier-NAT address",
            AddressClass::Multicast => "a multicast address",
            AddressClass::Unspecified => "the unspecified address",
            AddressClass::Documentation => "a documentation or test address",
            AddressClass::Reserved => "a reserved address",
            AddressClass::Metadata => "the address of a cloud metadata service",
        }
    }

    pub(super) const fn advice(self) -> &'static str {
        match self {
            AddressClass::Metadata => ", which is never fetched",
            _ => ": allow it with allow_private_networks, or name exactly this host and port as a seed",
        }
    }
}

/// Metadata and host services that answer without a password. Not all are in private ranges.
const METADATA_V4: &[[u8; 4]] = &[
    [169, 254, 169, 254], // AWS, Azure, Google, Oracle, OpenStack, DigitalOcean and others
    [169, 254, 169, 253], // AWS: resolver
    [169, 254, 169, 123], // AWS: time
    [169, 254, 170, 2],   // AWS: container credentials
    [169, 254, 170, 23],  // AWS: pod identity
    [169, 254, 0, 23],    // Tencent
    [169, 254, 42, 42],   // Scaleway
    [100, 100, 100, 200], // Alibaba
    [192, 0, 0, 192],     // Oracle
    [168, 63, 129, 16],   // Azure: host agent
];

const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253), // AWS: resolver
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123), // AWS: time
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS: pod identity
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),   // Scaleway
];

/// The class of an address. An IPv6 address that carries an IPv4 address is of the carried one's class.
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    let octets = address.octets();
    if METADATA_V4.contains(&octets) {
        return AddressClass::Metadata;
    }
    match octets {
        [0, 0, 0, 0] => AddressClass::Unspecified,
        [0, ..] => AddressClass::Reserved,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [100, 64..=127, ..] => AddressClass::CarrierNat,
        [127, ..] => AddressClass::Loopback,
        [169, 254, ..] => AddressClass::LinkLocal,
        [192, 0, 0, _] | [192, 88, 99, _] => AddressClass::Reserved,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18..=19, ..] => AddressClass::Documentation,
        [224..=239, ..] => AddressClass::Multicast,
        [240..=255, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if METADATA_V6.contains(&address) {
        return AddressClass::Metadata;
    }
    if address.is_unspecified() {
        return AddressClass::Unspecified;
    }
    if address.is_loopback() {
        return AddressClass::Loopback;
    }
    let class = match address.segments() {
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressClass::Private,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressClass::Documentation,
        // Protocol assignments, Teredo and ORCHID among them: nothing there is a web server.
        [0x2001, 0..=0x1ff, ..] => AddressClass::Reserved,
        // For translation inside one network only (RFC 8215).
        [0x64, 0xff9b, 1, ..] => AddressClass::Private,
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        // Outside global unicast only the embedded forms below are reachable.
        _ if embedded(address).is_some() => AddressClass::Public,
        _ => AddressClass::Reserved,
    };
    match embedded(address).map(classify_v4) {
        Some(AddressClass::Metadata) => AddressClass::Metadata,
        Some(inner) if class == AddressClass::Public => inner,
        _ => class,
    }
}

/// The IPv4 address inside an IPv6 address: mapped, translated, compatible, NAT64, 6to4, ISATAP.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0, 0, 0, 0, 0, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h),
        [0x64, 0xff9b, 1, ..] => v4(g, h),
        [0x2002, high, low, ..] => v4(high, low),
        [.., 0 | 0x200, 0x5efe] => v4(g, h),
        _ => None,
    }
}
