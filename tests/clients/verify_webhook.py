"""Verifies a delivery with the Standard Webhooks library, and as receivers of an older kind do.

The argument is a file with a JSON object: `secrets`, `headers` with names in lower case, and `body`.
"""

import hashlib
import hmac
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

with open(sys.argv[1], encoding="utf-8") as file:
    case = json.load(file)

headers, body = case["headers"], case["body"]
results = []


def check(name, passed):
    results.append(passed)
    print(("ok      " if passed else "FAILED  ") + name)


def verifies(secret, body, headers):
    try:
        return Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return None


for number, secret in enumerate(case["secrets"], 1):
    told = verifies(secret, body, headers)
    check(f"secret {number} verifies it", told is not None and told["type"] == json.loads(body)["type"])
    check(f"secret {number} refuses another body", verifies(secret, body + " ", headers) is None)
    other = {**headers, "webhook-id": headers["webhook-id"] + "0"}
    check(f"secret {number} refuses another id", verifies(secret, body, other) is None)

check("a secret that is not its own refuses it", verifies("whsec_" + "B" * 32, body, headers) is None)

plain = hmac.new(case["secrets"][0].encode(), body.encode(), hashlib.sha256).hexdigest()
check("X-Webhook-Signature is the HMAC of the body", hmac.compare_digest(plain, headers["x-webhook-signature"]))
check("X-Webhook-Timestamp is the body's", headers["x-webhook-timestamp"] == json.loads(body)["timestamp"])

print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
sys.exit(0 if all(results) else 1)
