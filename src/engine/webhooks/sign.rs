//! What proves to a receiver who sent a delivery.

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use sha2::Sha256;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

use crate::domain::webhook::{DeliveryId, WebhookSecret};

/// The headers of a delivery that is sent at `unix_seconds`. `told_at`: the time that its body tells. `None`: a secret is none, or
/// there is none.
///
/// By the Standard Webhooks scheme, with a signature for each secret; and for receivers of an older kind a plain HMAC of the body
/// with the first one.
pub(super) fn headers(
    id: DeliveryId,
    unix_seconds: i64,
    told_at: &str,
    body: &str,
    secrets: &[WebhookSecret],
) -> Option<HeaderMap> {
    let id = id.to_string();
    let signature = |secret: &WebhookSecret| {
        let signer = Webhook::from_bytes(secret.key()?).ok()?;
        signer.sign(&id, unix_seconds, body.as_bytes()).ok()
    };
    let signatures = secrets.iter().map(signature).collect::<Option<Vec<_>>>()?.join(" ");
    let plain = hex_hmac(secrets.first()?.expose().as_bytes(), body.as_bytes());
    let fields = [
        (CONTENT_TYPE, "application/json".to_owned()),
        (HeaderName::from_static(HEADER_WEBHOOK_ID), id),
        (HeaderName::from_static(HEADER_WEBHOOK_TIMESTAMP), unix_seconds.to_string()),
        (HeaderName::from_static(HEADER_WEBHOOK_SIGNATURE), signatures),
        (HeaderName::from_static("x-webhook-signature"), plain),
        (HeaderName::from_static("x-webhook-timestamp"), told_at.to_owned()),
    ];
    fields.into_iter().map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))).collect()
}

fn hex_hmac(key: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_seeds_receivers_find_their_signature() {
        // printf '{"event":"x"}' | openssl dgst -sha256 -hmac whsec_AAAA
        let found = hex_hmac(b"whsec_AAAA", br#"{"event":"x"}"#);
        assert_eq!(found, "ca0e925dd9b1e3aedfa69dcaf5281a63dcead21005b64495407297fd2210f731");
    }

    #[test]
    fn each_secret_has_its_signature() {
        let secrets = [WebhookSecret::of_key(&[1; 24]), WebhookSecret::of_key(&[2; 64])];
        let id = DeliveryId { uuid: Uuid::nil(), revision: 7 };
        let now = jiff::Timestamp::now().as_second();
        let headers = headers(id, now, "2026-01-01T00:00:00Z", "{}", &secrets).expect("they are secrets");
        for secret in &secrets {
            let verifier = Webhook::new(secret.expose()).expect("a secret");
            verifier.verify(b"{}", &headers).expect("its signature is there");
            verifier.verify(b"{ }", &headers).expect_err("another body");
        }
        assert_eq!(super::headers(id, now, "", "{}", &[]), None);
    }
}
