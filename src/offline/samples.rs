//! Error bodies as users of Mistral's API have reported them, one row per shape, for `/offline error`.

use serde_json::json;

use super::failure::Failure;

struct Sample {
    status: u16,
    variant: &'static str,
    content_type: &'static str,
    body: &'static str,
}

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain";
const HTML: &str = "text/html";

const fn sample(status: u16, variant: &'static str, content_type: &'static str, body: &'static str) -> Sample {
    Sample { status, variant, content_type, body }
}

/// The first row of a status is the one that is sent when no variant is named.
const SAMPLES: &[Sample] = &[
    sample(
        400,
        "invalid_model",
        JSON,
        r#"{"object":"error","message":"Invalid model: mistral-none","type":"invalid_model","param":null,"code":"1500"}"#,
    ),
    sample(
        400,
        "order",
        JSON,
        r#"{"object":"error","message":"Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant","type":"invalid_request_message_order","param":null,"code":"3230"}"#,
    ),
    sample(
        400,
        "call",
        JSON,
        r#"{"object":"error","message":"Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.","type":"invalid_function_call","param":null,"code":"3280"}"#,
    ),
    sample(
        400,
        "context",
        JSON,
        r#"{"object":"error","message":"Prompt contains 262145 tokens and 0 draft tokens, too large for model with 262144 maximum context length","type":"invalid_request_prompt","param":null,"code":"3051"}"#,
    ),
    sample(401, "detail", JSON, r#"{"detail":"Unauthorized"}"#),
    sample(401, "gateway", JSON, r#"{"message":"Unauthorized","request_id":"00000000000000000000000000000401"}"#),
    sample(
        402,
        "credits",
        JSON,
        r#"{"object":"error","message":"Your credits are used up. Add credits or enable pay-as-you-go to continue.","type":"payment_required","param":null,"code":null}"#,
    ),
    sample(
        403,
        "guardrail",
        JSON,
        r#"{"error":{"message":"Request blocked by guardrails","status":403},"guardrails":[{"action":"block","moderation_llm_v2":{"violence_and_threats":{"threshold":0.2,"score":0.97,"violated":true}}}]}"#,
    ),
    sample(
        403,
        "guardrail_error",
        JSON,
        r#"{"object":"Error","message":"Guardrail could not be evaluated","type":"invalid_request_error","code":3201}"#,
    ),
    sample(
        403,
        "tier",
        JSON,
        r#"{"object":"error","message":"This model is not available in your subscription.","type":"forbidden","param":null,"code":null}"#,
    ),
    sample(404, "detail", JSON, r#"{"detail":"Not Found"}"#),
    sample(
        404,
        "gateway",
        JSON,
        r#"{"message":"no Route matched with those values","request_id":"00000000000000000000000000000404"}"#,
    ),
    sample(
        404,
        "model",
        JSON,
        r#"{"object":"error","message":"Model mistral-retired not found","type":"model_not_found","param":null,"code":"3040"}"#,
    ),
    sample(408, "timeout", JSON, r#"{"message":"Request timed out","request_id":"00000000000000000000000000000408"}"#),
    sample(
        422,
        "list",
        JSON,
        r#"{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":7},{"type":"less_than_equal","loc":["body","temperature"],"msg":"Input should be less than or equal to 1.5","input":9.0,"ctx":{"le":1.5}}]}"#,
    ),
    sample(
        422,
        "wrapped",
        JSON,
        r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":7}]},"type":"invalid_request_error","param":null,"code":null}"#,
    ),
    sample(
        422,
        "context",
        JSON,
        r#"{"object":"error","message":"Prompt is too long for this model","type":"model_context_exceeded","param":null,"code":"model_context_exceeded"}"#,
    ),
    sample(
        429,
        "rate",
        JSON,
        r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#,
    ),
    sample(
        429,
        "capacity",
        JSON,
        r#"{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","param":null,"code":"3505"}"#,
    ),
    sample(429, "gateway", JSON, r#"{"message":"Requests rate limit exceeded"}"#),
    sample(
        500,
        "3000",
        JSON,
        r#"{"object":"error","message":"Service unavailable.","type":"internal_server_error","param":null,"code":"3000"}"#,
    ),
    sample(500, "text", PLAIN, "Internal Server Error"),
    sample(
        502,
        "html",
        HTML,
        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n",
    ),
    sample(502, "text", PLAIN, "Bad Gateway"),
    sample(503, "text", PLAIN, "upstream connect error or disconnect/reset before headers. reset reason: overflow"),
    sample(503, "json", JSON, r#"{"message":"Service unavailable","request_id":"00000000000000000000000000000503"}"#),
    sample(504, "text", PLAIN, "upstream request timeout"),
    sample(
        504,
        "html",
        HTML,
        "<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n<body>\r\n<center><h1>504 Gateway Time-out</h1></center>\r\n</body>\r\n</html>\r\n",
    ),
];

/// The error of that status: the named variant, or the first one known, or a plain body for a status without samples.
pub(super) fn failure(status: u16, variant: Option<&str>, retry_after_s: Option<u32>) -> Failure {
    let mut of_status = SAMPLES.iter().filter(|sample| sample.status == status);
    let found = match variant {
        Some(variant) => of_status.find(|sample| sample.variant == variant),
        None => of_status.next(),
    };
    match found {
        Some(sample) => {
            Failure { status, content_type: sample.content_type, body: sample.body.to_owned(), retry_after_s }
        }
        None => Failure { retry_after_s, ..Failure::json(status, &unknown(status, variant)) },
    }
}

fn unknown(status: u16, variant: Option<&str>) -> serde_json::Value {
    let known: Vec<_> = SAMPLES.iter().filter(|s| s.status == status).map(|s| s.variant).collect();
    let message = match variant {
        Some(variant) => format!("Offline stand-in: no variant {variant} of {status}; it knows {}", known.join(", ")),
        None => format!("Offline stand-in: status {status} as asked"),
    };
    json!({"object": "error", "message": message, "type": "offline", "param": null, "code": null})
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_json_sample_is_json_and_every_variant_is_found() {
        for sample in SAMPLES {
            let failure = failure(sample.status, Some(sample.variant), Some(3));
            assert_eq!((failure.status, failure.body.as_str()), (sample.status, sample.body));
            assert_eq!(failure.retry_after_s, Some(3));
            if sample.content_type == JSON {
                serde_json::from_str::<Value>(sample.body).expect(sample.body);
            }
        }
    }

    #[test]
    fn an_unknown_variant_names_the_known_ones() {
        assert!(failure(429, Some("nope"), None).body.contains("rate, capacity, gateway"));
        assert!(failure(418, None, None).body.contains("418"));
    }
}
