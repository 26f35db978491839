"""One evidence bundle, verified: `verified ours|bare`.

Bare is what the two libraries alone do with it, PyJWT for the token and dcap-qvl for the quote: no nonce, no
policy, no result files.
"""

from __future__ import annotations

import base64
import json
import sys

import dcap_qvl
import jwt
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

from benchmarks.programs.own_figures import measured
from tests.support.factories.bundles import ISSUER, Bundle, make_bundle

TIMES = 200


def by_libraries(bundle: Bundle) -> None:
    """Check the token's signature and times, and the quote against its collateral."""
    key_id = jwt.get_unverified_header(bundle.token)["kid"]
    (entry,) = (key for key in bundle.jwks["keys"] if key["kid"] == key_id)
    key = load_der_x509_certificate(base64.b64decode(entry["x5c"][0])).public_key()
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    jwt.decode(bundle.token, key, algorithms=["RS256"], issuer=ISSUER, options=options)
    collateral = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(bundle.collateral))
    root = load_pem_x509_certificate(bundle.policy["dcap"]["roots"][0].encode())
    seconds = int(bundle.now.timestamp())
    verifier = dcap_qvl.QuoteVerifier(root.public_bytes(Encoding.DER))
    policy = dcap_qvl.QuotePolicy.claims_only(seconds)
    verifier.verify_with_policy(bundle.quote, collateral, seconds, policy)


def by_ours(bundle: Bundle) -> None:
    """Take all thirteen steps."""
    report = bundle.verify()
    assert report.passed, report.text()


if __name__ == "__main__":
    one, verify = make_bundle(), {"ours": by_ours, "bare": by_libraries}[sys.argv[1]]
    verify(one)
    with measured(TIMES):
        for _ in range(TIMES):
            verify(one)
