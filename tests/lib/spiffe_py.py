# SPDX-License-Identifier: Apache-2.0
"""A workload that speaks SPIFFE through the package spiffe (PyPI): everything it gets, checked by that package; at last "ok"."""

import threading

from spiffe import JwtSvid, WorkloadApiClient

with WorkloadApiClient() as client:
    x = client.fetch_x509_svid()
    bundle = client.fetch_x509_bundles().get_bundle_for_trust_domain(x.spiffe_id.trust_domain)
    assert bundle.x509_authorities and len(x.cert_chain) == 2
    token = client.fetch_jwt_svid(audience={"bank", "shop"})
    keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(x.spiffe_id.trust_domain)
    assert JwtSvid.parse_and_validate(token.token, keys, {"bank"}).spiffe_id == x.spiffe_id
    assert client.validate_jwt_svid(token.token, "shop").spiffe_id == x.spiffe_id
    for refuse in (lambda: JwtSvid.parse_and_validate(token.token, keys, {"other"}), lambda: client.validate_jwt_svid(token.token, "other")):
        try:
            refuse()
        except Exception as e:
            assert "AssertionError" not in type(e).__name__
        else:
            raise AssertionError("taken for another audience")
    # The stream brings another certificate without being asked.
    serials, done, trouble = set(), threading.Event(), []

    def on_success(context):
        serials.add(context.default_svid.leaf.serial_number)
        if len(serials) == 2:
            done.set()

    def on_error(e):
        trouble.append(e)
        done.set()
    handler = client.stream_x509_contexts(on_success, on_error)
    assert done.wait(60) and not trouble, trouble
    handler.cancel()
    print("ok", x.spiffe_id, flush=True)
