//! A host, and perhaps a port, as an operator writes them.

use reqwest::Url;

/// A host as URLs have it after they were read, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// In small letters, without a dot at its end; an IPv6 address in brackets.
    pub host: String,
    /// `None`: the entry names none.
    pub port: Option<u16>,
}

impl HostPort {
    /// Whether this is meant by the entry. An entry without a port means those of http and https.
    pub fn means(&self, host: &str, port: Option<u16>) -> bool {
        let fits = self.port.map_or_else(|| matches!(port, Some(80 | 443)), |named| port == Some(named));
        self.host == host && fits
    }

    /// Reads `host`, `host:port`, `1.2.3.4`, `[::1]:port`, also `::1`; `None`: it is none of them.
    pub fn parse(text: &str) -> Option<HostPort> {
        let (host, port) = split(text)?;
        let bracketed = host.contains(':') && !host.starts_with('[');
        let host = if bracketed { format!("[{host}]") } else { host.to_owned() };
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        let url = Url::parse(&format!("http://{host}/")).ok().filter(|_| host.chars().all(plain))?;
        let host = of(&url)?.to_owned();
        (!host.is_empty()).then_some(HostPort { host, port })
    }
}

/// The host of a URL, without a dot at its end: that makes no difference to who answers.
pub(super) fn of(url: &Url) -> Option<&str> {
    url.host_str().map(|host| host.strip_suffix('.').unwrap_or(host))
}

/// What stands before the port, and the port. A colon in an IPv6 address is no port's unless brackets say so.
pub(super) fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        Some(_) | None => return Some((text, None)),
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port > 0)?;
    Some((host, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_urls_have_them() {
        for (text, host, port) in [
            ("Example.COM.", "example.com", None),
            ("example.com:8080", "example.com", Some(8080)),
            ("127.1:80", "127.0.0.1", Some(80)),
            ("::1", "[::1]", None),
            ("[::1]", "[::1]", None),
            ("[0:0::1]:443", "[::1]", Some(443)),
            ("bücher.example", "xn--bcher-kva.example", None),
        ] {
            assert_eq!(HostPort::parse(text), Some(HostPort { host: host.into(), port }), "{text}");
        }
    }

    #[test]
    fn an_entry_without_a_port_means_the_usual_ones() {
        let means = |entry: &str, port| HostPort::parse(entry).is_some_and(|entry| entry.means("example.com", port));
        for (entry, port, expected) in [
            ("example.com", Some(443), true),
            ("example.com", Some(80), true),
            ("example.com", Some(8443), false),
            ("example.com", None, false),
            ("example.com:8443", Some(8443), true),
            ("example.com:8443", Some(443), false),
            ("other.example.com", Some(443), false),
        ] {
            assert_eq!(means(entry, port), expected, "{entry} {port:?}");
        }
    }

    #[test]
    fn what_is_more_than_a_host_is_none() {
        for text in [
            "",
            ".",
            "http://a",
            "a/b",
            "a@b",
            "a:b",
            "a:0",
            "a:+1",
            "a:99999",
            "a b",
            "[::1",
            "*.a",
            "256.0.0.1",
            ":80",
        ] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
    }
}
