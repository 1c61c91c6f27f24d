//! Who may ask. There is no authentication yet, so a browser on the machine that the service trusts must not become the hand of
//! any page that it shows.
//!
//! Three things hold for each request that is not gRPC proper (which no page can send):
//!
//! - It asks for the service by a name that is known, or by an IP address. A page of `evil.example` whose name was pointed at
//!   127.0.0.1 (DNS rebinding) has the browser's consent to read what it loads, but asks for `evil.example`.
//! - If it names the page that it comes from (`Origin`), that is one of the service's own or of the allowed ones.
//! - If the browser says that another page caused it, without an `Origin` (an image, a script), it is not answered: such a
//!   page could read nothing, but count, and hold connections.

use std::net::IpAddr;

use http::{HeaderMap, Request, Response, header, uri::Authority};
use tonic::{Code, Status, body::Body};

use super::{Door, Kind};
use crate::grpc::layers::{Around, Handler, status};

/// The names and origins that are allowed.
#[derive(Debug)]
pub(super) struct Guard {
    origins: Vec<String>,
    hosts: Vec<String>,
}

impl Guard {
    pub(super) fn new(origins: &[String], hosts: &[String]) -> Guard {
        Guard { origins: origins.to_vec(), hosts: hosts.to_vec() }
    }

    /// Whether the request may be answered.
    fn check(&self, request: &Request<Body>) -> Result<(), Status> {
        let host = host(request).ok_or_else(|| refusal("the request must name one host that it asks for"))?;
        if !self.knows(&host) {
            let text = format!(
                "{} is no name of this server: ask for localhost or an IP address, or add it to http.hosts",
                host.as_str()
            );
            return Err(refusal(text));
        }
        let headers = request.headers();
        match headers.get(header::ORIGIN) {
            Some(origin) if self.allows(origin.as_bytes(), &host) => Ok(()),
            Some(origin) => {
                let origin = String::from_utf8_lossy(origin.as_bytes());
                Err(refusal(format!("pages of {origin} may not ask: add it to http.cors_origins")))
            }
            None if is_of_another_page(headers) => Err(refusal("other pages may not load this")),
            None => Ok(()),
        }
    }

    fn knows(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let is_listed =
            |listed: &String| listed.eq_ignore_ascii_case(name) || listed.eq_ignore_ascii_case(host.as_str());
        name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok() || self.hosts.iter().any(is_listed)
    }

    fn allows(&self, origin: &[u8], host: &Authority) -> bool {
        // The scheme is not known here: TLS ends before this server.
        let own = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        own.is_some_and(|own| own.eq_ignore_ascii_case(host.as_str().as_bytes()))
            || self.origins.iter().any(|allowed| allowed.as_bytes() == origin)
    }
}

/// What HTTP/2 has in its target, and HTTP/1.1 in one header.
fn host(request: &Request<Body>) -> Option<Authority> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let authority = match (request.uri().authority(), named.next(), named.next()) {
        (Some(authority), _, None) => authority.clone(),
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok()?,
        _ => return None,
    };
    // A user name before the host has no meaning here.
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Fetch metadata, which pages cannot forge. To go to an address, by a link or by typing it, is no loading.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let is = |name: &str, values: &[&str]| {
        headers.get(name).is_some_and(|value| values.iter().any(|one| value.as_bytes() == one.as_bytes()))
    };
    let goes_there = is("sec-fetch-mode", &["navigate"]) && is("sec-fetch-dest", &["document"]);
    is("sec-fetch-site", &["cross-site", "same-site"]) && !goes_there
}

fn refusal(text: impl Into<String>) -> Status {
    status::with_reason(Code::PermissionDenied, "PERMISSION_DENIED", text)
}

/// The innermost layer of an open door: what the guard refuses goes no further, what is plain HTTP goes to its readers.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct Guarded(pub(in crate::grpc) Door);

impl Around for Guarded {
    async fn around<H: Handler>(self, request: Request<Body>, inner: H) -> Response<Body> {
        let Some(kind) = request.extensions().get::<Kind>().copied() else { return inner.answer(request).await };
        match (self.0.guard.check(&request), kind) {
            (Err(refused), _) => refused.into_http(),
            (Ok(()), Kind::Web) => inner.answer(request).await,
            (Ok(()), Kind::Plain) => self.0.plain.answer(request).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(&["https://app.example.com".into()], &["chat.example.com".into(), "b.example:8443".into()])
    }

    fn may(headers: &[(&str, &str)]) -> bool {
        let mut request = Request::get("/v1/conversations");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard().check(&request.body(Body::empty()).expect("a request")).is_ok()
    }

    #[test]
    fn only_names_of_this_server_may_be_asked_for() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:50051", "[::1]:50051", "10.1.2.3", "chat.example.com:9"] {
            assert!(may(&[("host", host)]), "{host}");
        }
        assert!(may(&[("host", "Chat.Example.com")]) && may(&[("host", "b.example:8443")]));
        for host in
            ["evil.example", "localhost.evil.example", "b.example", "b.example:1", "127.0.0.1.evil.example", "", "a b"]
        {
            assert!(!may(&[("host", host)]), "{host}");
        }
        assert!(!may(&[]), "no name at all");
        assert!(!may(&[("host", "localhost"), ("host", "evil.example")]), "two names");
        assert!(!may(&[("host", "evil@localhost")]));
    }

    #[test]
    fn only_own_and_allowed_pages_may_ask() {
        let may = |origin: &str| may(&[("host", "localhost:50051"), ("origin", origin)]);
        for origin in ["http://localhost:50051", "https://localhost:50051", "https://app.example.com"] {
            assert!(may(origin), "{origin}");
        }
        for origin in ["http://localhost:3000", "http://localhost", "http://app.example.com", "null", "", "file://"] {
            assert!(!may(origin), "{origin}");
        }
    }

    #[test]
    fn another_page_may_link_and_not_load() {
        let host = ("host", "localhost:50051");
        for site in ["cross-site", "same-site"] {
            assert!(!may(&[host, ("sec-fetch-site", site), ("sec-fetch-mode", "no-cors")]), "{site}");
            let (mode, frame) = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"));
            assert!(!may(&[host, ("sec-fetch-site", site), mode, frame]), "{site}");
            assert!(may(&[host, ("sec-fetch-site", site), mode, ("sec-fetch-dest", "document")]), "{site}");
        }
        for site in ["same-origin", "none"] {
            assert!(may(&[host, ("sec-fetch-site", site)]), "{site}");
        }
    }
}
