//! The operator's exceptions.

use std::{error::Error, fmt, net::IpAddr};

use ipnet::IpNet;
use reqwest::Url;

use super::{address, host};

/// What may be reached though it is not on the internet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    place: Place,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Net(IpNet),
    /// All addresses that this name has, whatever they are.
    Host(String),
}

/// A text that is no entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadEntry;

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an address, a range of addresses or a host's name, each with or without a port")
    }
}

impl Error for BadEntry {}

impl AllowList {
    /// Adds an entry: `10.0.0.0/8`, `127.0.0.1:8080`, `[fd00::/8]:443`, `::1`, `intranet.example`, `localhost:8080`. One with a
    /// port holds for that port only.
    pub fn add(&mut self, text: &str) -> Result<(), BadEntry> {
        let (place, port) = host::split(text).ok_or(BadEntry)?;
        let bare = place.strip_prefix('[').and_then(|place| place.strip_suffix(']')).unwrap_or(place);
        let place = match bare.parse::<IpNet>() {
            Ok(net) => Place::Net(net),
            Err(_) => of_host(place)?,
        };
        self.entries.push(Entry { place, port });
        Ok(())
    }

    /// The ports that entries name.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.entries.iter().filter_map(|entry| entry.port)
    }

    /// Whether a connection to this address may be made for this host. The port is `None` if no entry names it.
    pub(super) fn permits(&self, host: &str, address: IpAddr, port: Option<u16>) -> bool {
        let address = address.to_canonical();
        let lists = |entry: &Entry| {
            let place = match &entry.place {
                Place::Net(net) => net.contains(&address),
                Place::Host(name) => name == host,
            };
            place && (entry.port.is_none() || entry.port == port)
        };
        address::is_public(address) || self.entries.iter().any(lists)
    }

    /// The port of a URL, if an entry names it.
    pub(super) fn port_of(&self, url: &Url) -> Option<u16> {
        let port = url.port_or_known_default();
        port.filter(|port| self.ports().any(|named| named == *port))
    }
}

/// A single address is a range of one.
fn of_host(text: &str) -> Result<Place, BadEntry> {
    let host = host::HostPort::parse(text).filter(|host| host.port.is_none()).ok_or(BadEntry)?.host;
    Ok(ip_of(&host).map_or_else(|| Place::Host(host.clone()), |address| Place::Net(address.to_canonical().into())))
}

/// The address that stands in the place of a host, as URLs have it after they were read: an IPv6 address in brackets, an IPv4
/// address in four decimal numbers, in whatever way it was written.
pub(super) fn ip_of(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entry: &str) -> AllowList {
        let mut list = AllowList::default();
        list.add(entry).expect(entry);
        list
    }

    #[test]
    fn an_entry_holds_for_what_it_names_and_nothing_else() {
        for (entry, host, address, port, permitted) in [
            ("10.0.0.0/8", "x", "10.1.2.3", None, true),
            ("10.0.0.0/8", "x", "::ffff:10.1.2.3", None, true),
            ("10.0.0.0/8", "x", "11.0.0.1", None, true),
            ("10.0.0.0/8", "x", "192.168.0.1", None, false),
            ("10.0.0.0/8:80", "x", "10.0.0.1", Some(80), true),
            ("10.0.0.0/8:80", "x", "10.0.0.1", None, false),
            ("127.0.0.1:80", "x", "127.0.0.1", Some(81), false),
            ("127.0.0.1", "x", "127.0.0.2", None, false),
            ("::1", "x", "::1", None, true),
            ("[::1]:80", "x", "::1", Some(80), true),
            ("[fd00::/8]:80", "x", "fd12::1", Some(80), true),
            ("[fd00::/8]:80", "x", "fe80::1", Some(80), false),
            ("Host.Example.", "host.example", "10.0.0.1", None, true),
            ("host.example", "a.host.example", "10.0.0.1", None, false),
            ("host.example:80", "host.example", "10.0.0.1", None, false),
        ] {
            let address = address.parse().expect(address);
            assert_eq!(list(entry).permits(host, address, port), permitted, "{entry} {host} {address} {port:?}");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/8:0", "10.0.0.0/8:x", "http://a", "a/8", "*", "a b", "[::1]:"] {
            assert_eq!(AllowList::default().add(text), Err(BadEntry), "{text}");
        }
    }
}
