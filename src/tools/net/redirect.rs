//! What is asked next when an answer points elsewhere.

use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
        CONTENT_TYPE, LOCATION, USER_AGENT,
    },
};
use reqwest::Response;

use super::{client::Request, error::Error};

/// What another origin may be told. Of all else nobody can tell that it is not meant for the first host alone.
const FOR_ANYBODY: [HeaderName; 6] =
    [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, CONTENT_TYPE, USER_AGENT];
const OF_THE_BODY: [HeaderName; 5] =
    [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE];

/// The request that follows from this answer; `None`: the answer is the last one.
pub(super) fn next(request: &Request, response: &Response) -> Result<Option<Request>, Error> {
    let status = response.status();
    let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect(status)) else { return Ok(None) };
    let bad = || Error::BadRedirect { host: request.host().to_owned() };
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| bad())?;
    let url = request.url.join(location).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad());
    }
    let mut next = Request { url, ..request.clone() };
    if becomes_get(status, &next.method) {
        next.method = Method::GET;
        next.body = None;
        remove(&mut next.headers, |name| OF_THE_BODY.contains(name));
    }
    if next.url.origin() != request.url.origin() {
        let secret: Vec<HeaderName> =
            next.headers.iter().filter(|(_, v)| v.is_sensitive()).map(|(n, _)| n.clone()).collect();
        remove(&mut next.headers, |name| !FOR_ANYBODY.contains(name) || secret.contains(name));
    }
    Ok(Some(next))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// As the Fetch standard has it ("HTTP-redirect fetch").
fn becomes_get(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        301 | 302 => *method == Method::POST,
        303 => *method != Method::GET && *method != Method::HEAD,
        _ => false,
    }
}

fn remove(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}
