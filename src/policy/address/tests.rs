//! Which addresses are refused, by which name, and what grants open.

use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn policy(networks: &[&str]) -> AddressPolicy {
    AddressPolicy::new(&networks.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), &[]).unwrap()
}

#[test]
fn every_address_has_its_class() {
    use AddressClass::*;
    for (address, want) in [
        ("8.8.8.8", Public),
        ("1.1.1.1", Public),
        ("9.255.255.255", Public),
        ("11.0.0.0", Public),
        ("172.15.255.255", Public),
        ("172.32.0.0", Public),
        ("192.167.255.255", Public),
        ("100.63.255.255", Public),
        ("100.128.0.0", Public),
        ("223.255.255.255", Public),
        ("0.0.0.0", Unspecified),
        ("0.1.2.3", Reserved),
        ("10.0.0.0", Private),
        ("10.255.255.255", Private),
        ("172.16.0.1", Private),
        ("172.31.255.255", Private),
        ("192.168.0.1", Private),
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("169.254.1.1", LinkLocal),
        ("100.64.0.1", CarrierNat),
        ("100.127.255.255", CarrierNat),
        ("192.0.0.8", Reserved),
        ("192.88.99.1", Reserved),
        ("192.0.2.1", Documentation),
        ("198.51.100.1", Documentation),
        ("203.0.113.1", Documentation),
        ("198.18.0.1", Documentation),
        ("198.19.255.255", Documentation),
        ("224.0.0.1", Multicast),
        ("239.255.255.250", Multicast),
        ("240.0.0.1", Reserved),
        ("255.255.255.255", Reserved),
        ("169.254.169.254", Metadata),
        ("169.254.170.2", Metadata),
        ("100.100.100.200", Metadata),
        ("192.0.0.192", Metadata),
        ("168.63.129.16", Metadata),
        ("2606:4700::1111", Public),
        ("2a00:1450:4001::1", Public),
        ("::", Unspecified),
        ("::1", Loopback),
        ("fc00::1", Private),
        ("fdff:ffff::1", Private),
        ("fec0::1", Private),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("ff02::1", Multicast),
        ("2001:db8::1", Documentation),
        ("3fff::1", Documentation),
        ("2001::1", Reserved),
        ("2001:10::1", Reserved),
        ("2001:200::1", Public),
        ("100::1", Reserved),
        ("4000::1", Reserved),
        ("fd00:ec2::254", Metadata),
        ("fd20:ce::254", Metadata),
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:8.8.8.8", Public),
        ("::ffff:169.254.169.254", Metadata),
        ("::ffff:0:10.0.0.1", Private),
        ("::10.0.0.1", Private),
        ("::8.8.8.8", Public),
        ("64:ff9b::10.0.0.1", Private),
        ("64:ff9b::8.8.8.8", Public),
        ("64:ff9b::169.254.169.254", Metadata),
        ("64:ff9b:1::8.8.8.8", Private),
        ("64:ff9b:1::169.254.169.254", Metadata),
        ("2002:7f00:1::", Loopback),
        ("2002:a00:1::1", Private),
        ("2002:a9fe:a9fe::", Metadata),
        ("2002:808:808::1", Public),
        ("2a00::5efe:192.168.1.1", Private),
        ("2a00::200:5efe:192.168.1.1", Private),
        ("fe80::5efe:8.8.8.8", LinkLocal),
    ] {
        assert_eq!(classify(ip(address)), want, "{address}");
    }
}

#[test]
fn odd_spellings_are_seen_through_after_parsing() {
    for (url, refused) in [
        ("http://127.1/", true),
        ("http://0x7f.0.0.1/", true),
        ("http://0x7f000001/", true),
        ("http://2130706433/", true),
        ("http://017700000001/", true),
        ("http://0177.0.0.01/", true),
        ("http://127.0.0.1./", true),
        ("http://1%32%37.0.0.1/", true),
        ("http://\u{ff11}27.0.0.1/", true),
        ("http://\u{2460}\u{2461}\u{2466}.0.0.1/", true),
        ("http://127\u{3002}0\u{3002}0\u{3002}1/", true),
        ("http://0/", true),
        ("http://2852039166/", true),
        ("http://[::ffff:7f00:1]/", true),
        ("http://[0:0:0:0:0:ffff:a9fe:a9fe]/", true),
        ("http://[::1]/", true),
        ("http://u@10.1/", true),
        ("http://134744072/", false),
        ("http://[2606:4700::1111]/", false),
    ] {
        let url = crate::model::url::CanonicalUrl::parse(url).unwrap();
        let address = ip(url.host().trim_matches(['[', ']']));
        assert_eq!(AddressPolicy::default().permits(url.host(), url.port(), address).is_err(), refused, "{url}");
    }
}

#[test]
fn networks_open_what_they_cover() {
    for (networks, address, permitted) in [
        (&[][..], "10.0.0.1", false),
        (&["10.0.0.0/8"][..], "10.255.0.1", true),
        (&["10.0.0.0/8"][..], "11.0.0.1", true),
        (&["10.0.0.0/8"][..], "192.168.0.1", false),
        (&["10.0.0.0/31"][..], "10.0.0.1", true),
        (&["10.0.0.0/31"][..], "10.0.0.2", false),
        (&["10.0.0.1"][..], "10.0.0.1", true),
        (&["10.0.0.1"][..], "10.0.0.2", false),
        (&["10.0.0.0/8"][..], "::ffff:10.0.0.1", true),
        (&["::ffff:10.0.0.0/104"][..], "10.0.0.1", true),
        (&["10.0.0.0/8"][..], "2002:a00:1::1", false),
        (&["2002:a00::/24"][..], "2002:a00:1::1", true),
        (&["127.0.0.0/8", "::1"][..], "::1", true),
        (&["fd00::/8"][..], "fd12::1", true),
        (&["0.0.0.0/0"][..], "192.168.0.1", true),
        (&["0.0.0.0/0"][..], "fd00::1", false),
        (&["::/0"][..], "fd00::1", true),
        (&["::/0"][..], "10.0.0.1", false),
        (&["0.0.0.0/0"][..], "169.254.169.254", false),
        (&["169.254.169.254"][..], "169.254.169.254", false),
        (&["100.64.0.0/10"][..], "100.100.100.200", false),
        (&["::/0"][..], "fd00:ec2::254", false),
        (&["0.0.0.0/0", "::/0"][..], "64:ff9b::169.254.169.254", false),
        (&["0.0.0.0/0"][..], "168.63.129.16", false),
    ] {
        let verdict = policy(networks).permits("h.example", 80, ip(address));
        assert_eq!(verdict.is_ok(), permitted, "{networks:?}: {address}");
    }
}

#[test]
fn a_named_host_opens_exactly_itself() {
    let named = |host: &str, port, address| NamedAddress { host: host.into(), port, addresses: vec![ip(address)] };
    let policy = AddressPolicy::new(
        &[],
        &[named("intra.example", 8080, "10.0.0.5"), named("[::1]", 80, "::1"), named("meta", 80, "169.254.169.254")],
    )
    .unwrap();
    for (host, port, address, permitted) in [
        ("intra.example", 8080, "10.0.0.5", true),
        ("INTRA.example.", 8080, "10.0.0.5", true),
        ("intra.example", 8080, "::ffff:10.0.0.5", true),
        ("intra.example", 80, "10.0.0.5", false),
        ("other.example", 8080, "10.0.0.5", false),
        ("intra.example", 8080, "10.0.0.6", false),
        ("intra.example", 8080, "127.0.0.1", false),
        ("intra.example", 8080, "8.8.8.8", true),
        ("::1", 80, "::1", true),
        ("[::1]", 81, "::1", false),
        ("meta", 80, "169.254.169.254", false),
    ] {
        assert_eq!(policy.permits(host, port, ip(address)).is_ok(), permitted, "{host}:{port} at {address}");
    }
}

#[test]
fn bad_networks_are_explained() {
    for (text, part) in [
        ("", "is not an address or a network"),
        ("localhost", "names are not taken"),
        ("10.0.0", "is not an address"),
        ("10.0.0.0/", "0 to 32 bits"),
        ("10.0.0.0/+8", "is not an address"),
        ("10.0.0.0/8/8", "is not an address"),
        ("10.0.0.0/33", "0 to 32 bits"),
        ("fd00::/129", "0 to 128 bits"),
        ("10.0.0.0/99999999999", "0 to 32 bits"),
        ("10.1.2.3/8", "did you mean `10.0.0.0/8`?"),
        ("fd00::1/8", "did you mean `fd00::/8`?"),
        ("[::1]", "is not an address"),
        ("10.0.0.0/8\u{1b}[31m", "\\u{1b}[31m"),
    ] {
        let error = AddressPolicy::new(&[text.to_owned()], &[]).unwrap_err().to_string();
        assert!(error.starts_with("allow_private_networks: ") && error.contains(part), "{text}: {error}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    let text = |address| AddressPolicy::default().permits("h", 80, ip(address)).unwrap_err().to_string();
    assert_eq!(
        text("10.0.0.1"),
        "10.0.0.1 is a private address: allow it with allow_private_networks, or name exactly this host and port as a seed"
    );
    assert_eq!(
        text("169.254.169.254"),
        "169.254.169.254 is the address of a cloud metadata service, which is never fetched"
    );
}

proptest! {
    #[test]
    fn embedded_addresses_are_never_freer_than_themselves(v4: u32) {
        let plain = std::net::Ipv4Addr::from(v4);
        let refused = classify(plain.into()) != AddressClass::Public;
        for form in [format!("::ffff:{plain}"), format!("::ffff:0:{plain}"), format!("64:ff9b::{plain}"), format!("2a00::5efe:{plain}")] {
            prop_assert!(!refused || classify(ip(&form)) != AddressClass::Public, "{form}");
        }
    }
}
