//! The outermost layer of an open door: what is spoken outside is made into what the layers know, and their answers back.

use std::{convert::Infallible, time::Duration};

use http::{
    HeaderName, HeaderValue, Method, Request, Response, Version,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{Door, Kind, answer};
use crate::grpc::layers::{Around, Handler, request_id::REQUEST_ID, status::RETRY_PUSHBACK};

/// The layer.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct Front(pub(in crate::grpc) Door);

impl Around for Front {
    async fn around<H: Handler>(self, mut request: Request<Body>, inner: H) -> Response<Body> {
        let Door { grpc_web, cors, .. } = self.0;
        let Some(kind) = kind(&request, grpc_web) else { return inner.answer(request).await };
        request.extensions_mut().insert(kind);
        let inside = service_fn(move |request| {
            let inner = inner.clone();
            async move { Ok::<_, Infallible>(inner.answer(request).await) }
        });
        let answered = match kind {
            Kind::Web => cors.layer(GrpcWebLayer::new().layer(inside)).oneshot(request).await,
            Kind::Plain => cors.layer(inside.map_response(answer::translate)).oneshot(request).await,
        };
        match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// `None`: a gRPC call. Over HTTP/1.1 there is none: a browser could send one, and what it may not do rests on the difference.
fn kind(request: &Request<Body>, grpc_web: bool) -> Option<Kind> {
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if grpc_web && content_type.starts_with(b"application/grpc-web") {
        return Some(Kind::Web);
    }
    let is_grpc = request.version() == Version::HTTP_2 && content_type.starts_with(b"application/grpc");
    (!is_grpc).then_some(Kind::Plain)
}

/// What pages of these origins may send and see. Nobody's cookies count: there are none.
pub(super) fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    let names = |names: &[&'static str]| names.iter().copied().map(HeaderName::from_static).collect::<Vec<_>>();
    let sent = [
        "content-type",
        "grpc-timeout",
        "last-event-id",
        REQUEST_ID,
        "x-grpc-web",
        "x-provider-api-key",
        "x-user-agent",
    ];
    let seen =
        ["grpc-status", "grpc-message", "grpc-status-details-bin", RETRY_PUSHBACK, REQUEST_ID, RETRY_AFTER.as_str()];
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(names(&sent))
        .expose_headers(seen.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect::<Vec<_>>())
        .max_age(Duration::from_secs(3600))
}
