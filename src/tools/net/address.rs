//! The addresses that belong to nobody on the internet: IANA's registries of special-purpose addresses (RFC 6890), and what the
//! clouds have put elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const SPECIAL_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),        // "this network"; 0.0.0.0 is loopback to Linux
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // shared by carriers; 100.100.100.200 is Alibaba's metadata
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // Azure's host, though it looks public
    v4([169, 254, 0, 0], 16),   // link-local; 169.254.169.254 is most clouds' metadata
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments; 192.0.0.192 is Oracle's metadata
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // relays of 6to4
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarking
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, and broadcast
];

/// All that IANA has given out so far. Loopback, unique local (fd00:ec2::254 is Amazon's metadata), link-local, site-local,
/// multicast and IPv4-compatible addresses are outside.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);

const SPECIAL_V6: [Ipv6Net; 3] = [
    v6([0x2001, 0], 23),     // protocol assignments: Teredo, benchmarking, ORCHID
    v6([0x2001, 0xdb8], 32), // documentation
    v6([0x3fff, 0], 20),     // documentation
];

const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0], 16);
/// The prefix under which IPv6-only networks show the IPv4 internet.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b]: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// Whether it is an address of the internet that anybody may reach.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|net| net.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [_, high, low, _, isatap_flags, isatap, tail_high, tail_low] = address.segments();
    // The packet ends at the IPv4 address that these hold.
    if NAT64.contains(&address) {
        return is_public_v4(joined(tail_high, tail_low));
    }
    if SIX_TO_FOUR.contains(&address) && !is_public_v4(joined(high, low)) {
        return false;
    }
    let is_isatap = isatap_flags & !0x0200 == 0 && isatap == 0x5efe;
    if is_isatap && !is_public_v4(joined(tail_high, tail_low)) {
        return false;
    }
    GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|net| net.contains(&address))
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().expect(text))
    }

    #[test]
    fn ranges_end_where_the_registry_says() {
        for (inside, outside) in [
            ("0.255.255.255", "1.0.0.0"),
            ("10.0.0.0", "9.255.255.255"),
            ("10.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.63.255.255"),
            ("100.127.255.255", "100.128.0.0"),
            ("127.255.255.254", "126.255.255.255"),
            ("168.63.129.16", "168.63.129.17"),
            ("169.254.169.254", "169.253.255.255"),
            ("172.16.0.0", "172.15.255.255"),
            ("172.31.255.255", "172.32.0.0"),
            ("192.0.0.192", "192.0.1.0"),
            ("192.0.2.1", "192.0.3.0"),
            ("192.88.99.1", "192.88.98.255"),
            ("192.168.255.255", "192.169.0.0"),
            ("198.19.255.255", "198.20.0.0"),
            ("198.51.100.1", "198.51.101.0"),
            ("203.0.113.255", "203.0.114.0"),
            ("224.0.0.0", "223.255.255.255"),
            ("255.255.255.255", "8.8.8.8"),
            ("1fff::1", "2606:4700::1111"),
            ("4000::1", "2a00::1"),
            ("2001:1ff::1", "2001:200::1"),
            ("2001:db8::1", "2001:db9::1"),
            ("3fff:fff::1", "3fff:1000::1"),
        ] {
            assert!(!public(inside), "{inside}");
            assert!(public(outside), "{outside}");
        }
    }

    #[test]
    fn what_holds_an_ipv4_address_is_judged_by_it() {
        for prefix in ["::ffff:", "64:ff9b::", "2606:4700::5efe:", "2606:4700::200:5efe:"] {
            assert!(!public(&format!("{prefix}169.254.169.254")), "{prefix}");
            assert!(public(&format!("{prefix}8.8.8.8")), "{prefix}");
        }
        assert!(!public("2002:7f00:1::"));
        assert!(public("2002:808:808::1"));
    }

    #[test]
    fn no_special_ipv6_address_is_public() {
        for text in
            ["::", "::1", "::8.8.8.8", "64:ff9b:1::808:808", "100::1", "2001:0:808:808::1", "2001:2::1", "2001:10::1"]
        {
            assert!(!public(text), "{text}");
        }
        for text in ["5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1"] {
            assert!(!public(text), "{text}");
        }
    }
}
