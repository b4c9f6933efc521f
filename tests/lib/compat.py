# SPDX-License-Identifier: Apache-2.0
"""docs/istio-compat.md from the field tables, as kvmeshctl explain tells them, and from the names of the tests.

python3 tests/lib/compat.py --write    writes the page (KVMESH_BUILD: where kvmeshctl is built)
"""

import functools
import json
import pathlib
import re
import subprocess
import sys

import kvmesh

PAGE = kvmesh.TOP / "docs" / "istio-compat.md"
WIRE = kvmesh.TOP / "tests" / "wire"

HEAD = """\
# What of Istio's configuration works
<!-- made by tests/lib/compat.py from the field tables and the tests: do not edit -->

Every field that Istio's resources have is read and checked. What it does here:

* **works**: it has Istio's meaning;
* **not yet**: read and checked without effect; `kvmeshctl analyze` reports its use with KVM0900 and the words given;
* **refused**: an error with the words given;
* **ignored**: accepted without effect, because it has no meaning here; `analyze` reports its use with KVM0901.

Since: Istio's first version with the field; empty: a field of ours. A field that is unknown is an error.
`kvmeshctl explain KIND.FIELD` tells more of each.

## Decisions of ours
* Two VirtualServices that one client sees for one host of the mesh are an error at load (KVM0109); Istio lets the older win.
* A weight is a share of the sum of all, also below one percent: 995 and 5 are 99.5 % and 0.5 %.
* A mirror's copy is sent once the whole request is here, with a body of at most what is kept for retries
  (`limits.retryBodyBytes`, 64 KiB unless set); a longer one, a protocol upgrade, more than 128 copies under way in one
  worker, or a service that cannot be named: no copy, counted in `kvmesh_mirror_dropped_total`. It has the route's timeout,
  or 15 s, is not tried again, and leaves a record at the service's side alone.
* Beside a fault that can happen the route has neither timeout nor retries, as the comment in Istio's API says.
* A delegate's route whose matches leave what its root selects is dropped (KVM0130 tells).
* An endpoint warms up when it joins a service that is there already, when it is taken in again, and when an ejection ends;
  Envoy leaves the last one out.
* `loadBalancer.simple = "EWMA"` is our own: of two endpoints by lot the one with the smaller product of latency and requests
  under way. Latency is the peak EWMA of Finagle and Linkerd: up at once, down by 1/e in 10 s, also unasked; a failed try
  counts as at least 1 s. Simulated with one of three endpoints 100 times slower, the mean is 2.1 ms, with LEAST_REQUEST 9.5 ms
  (`tests/unit/test_ewma.c`). KVM0902 reports it.
* `proxyProtocol` goes to endpoints without a proxy of the mesh; to others the connection is the mesh's own, and Istio's would
  fail there. A connection with a header is one client connection's alone, and idle for at most 5 s.
* Between proxies HTTP/2 is spoken whatever the port's protocol, unless a rule says `h2UpgradePolicy: DO_NOT_UPGRADE` or
  `useClientProtocol`; towards the application it is the port's declared protocol.
* Files of a rule's `tls` are looked at every second and read again when they change; what cannot be used leaves the ones before
  in force. Revocation lists (`caCrl`, or `ca.crl` of a rule's credential) must be there for every authority of a chain, as in Envoy.
  A MUTUAL or SIMPLE block with `credentialName` that a workload may not use sends no certificate and trusts the system's
  authorities, as Istio's documentation says.
* `tunnel` asks by CONNECT in HTTP/1.1 over the rule's TLS, or in the clear; `protocol: POST` is read as CONNECT (KVM0900 tells).
* A route that a client of plain HTTP meets with `abort.grpcStatus` answers with the HTTP status that means the same.
"""

# The numbered rules of traffic and policies that tests are named after.
RULES = {
    "2.1.1": "a short name is of the resource's namespace",
    "2.1.2": "aliases by which a client may call a service",
    "2.1.3": "wildcards: what covers what",
    "2.1.4": "a request's host: exact, then the longest wildcard, then `*`",
    "2.1.5": "the most specific configuration of a host decides",
    "2.1.6": "exportTo decides who sees a resource",
    "2.1.7": "names of gateways; `mesh`",
    "2.1.8": "order: first seen, then name, then namespace",
    "2.2.1": "a workload uses those for `mesh` that it may see",
    "2.2.2": "two for one host of the mesh: the older has it, the other is an error",
    "2.2.3": "a wildcard covers services without a more specific VirtualService",
    "2.2.4": "at gateways they are joined, catch-alls last",
    "2.2.5": "at gateways hosts must meet the server's",
    "2.2.6": "delegates: one level, narrowing",
    "2.2.7": "without a VirtualService all goes to the service",
    "2.3.1": "routes and match blocks in order, the first that fits",
    "2.3.2": "port, gateways, sourceLabels, sourceNamespace are decided for each caller before",
    "2.3.3": "sourceLabels are a subset of the caller's",
    "2.3.4": "behind a catch-all nothing is reached",
    "2.3.5": "uri is the path without query; a prefix is text",
    "2.3.6": "ignoreUriCase; everything else minds case, header names do not",
    "2.3.7": "presence of headers; repeated lines are joined",
    "2.3.8": "withoutHeaders",
    "2.3.9": "queryParams: the first occurrence",
    "2.3.10": "method, scheme, authority as sent",
    "2.3.11": "expressions are RE2's, for the whole string",
    "2.3.12": "no route fits: 404 NR",
    "2.3.13": "hosts that nobody declared: passed through, or 502",
    "2.3.14": "hosts that a gateway does not know: 404",
    "2.3.15": "an unknown subset or host: an error at load, 503 NC where it is not seen",
    "2.3.16": "claims of tokens in matches, at gateways",
    "2.4.1": "weights are shares of their sum",
    "2.4.2": "the choice is made for each request",
    "2.4.3": "the port of a destination",
    "2.4.4": "header operations: order, and which level wins",
    "2.4.5": "Host set by a header operation",
    "2.4.6": "variables in header values",
    "2.4.7": "mirrors",
    "2.4.8": "faults; beside one, timeout and retries are off",
    "2.4.9": "directResponse",
    "2.5.1": "timeout: 504 UT; grpc-timeout",
    "2.5.2": "when timeouts begin",
    "2.5.3": "what a local caller asks for in headers",
    "2.5.4": "the default retry policy; hosts that were tried are avoided",
    "2.5.5": "attempts: 0",
    "2.5.6": "conditions of retryOn",
    "2.5.7": "no retry once an answer began or the body is too long to keep",
    "2.5.8": "back-off; x-envoy-attempt-count",
    "2.5.9": "the last answer with URX",
    "2.5.10": "gRPC conditions are read from the head",
    "2.6.1": "rewrite of prefixes and whole paths",
    "2.6.2": "a prefix is swapped as text",
    "2.6.3": "rewrite of the authority",
    "2.6.4": "rewrite by expression",
    "2.6.5": "redirect: what is replaced",
    "2.6.6": "redirect: the port in Location",
    "2.6.7": "httpsRedirect of a gateway",
    "2.6.8": "CORS preflights",
    "2.6.9": "CORS: answers to other origins",
    "2.7.1": "where a DestinationRule is looked for: the client's namespace, the service's, the root",
    "2.7.2": "two for one host in one namespace are joined",
    "2.7.3": "a DestinationRule with workloadSelector is for those clients alone, and before others",
    "2.7.4": "an endpoint is of a subset when it has all its labels",
    "2.7.5": "subset's port, subset, port, top: blocks are replaced whole",
    "2.7.6": "an empty subset: 503 UH",
    "2.8.1": "LEAST_REQUEST is the default",
    "2.8.2": "weights of endpoints; smooth round robin",
    "2.8.3": "consistent hashing: keys and cookies",
    "2.8.4": "PASSTHROUGH: the original destination",
    "2.8.5": "circuit breakers: 503 UO with x-envoy-overloaded",
    "2.8.6": "maxRequestsPerConnection; which idleTimeout counts",
    "2.8.7": "connectTimeout: 503 UF",
    "2.8.8": "outlier detection",
    "2.8.9": "minHealthPercent",
    "2.8.10": "locality priorities with outlierDetection",
    "2.8.11": "distribute",
    "2.8.12": "failoverPriority",
    "2.8.13": "warmup",
    "2.8.14": "endpoints that are not healthy leave",
    "2.9.1": "a DestinationRule's tls goes before automatic mTLS",
    "2.9.2": "automatic mTLS is decided for each endpoint",
    "2.9.3": "mesh certificates, SNI, whom the server must prove to be",
    "2.9.4": "SIMPLE and MUTUAL: authorities, SNI, names",
    "2.9.5": "DISABLE towards STRICT fails",
    "2.9.6": "credentialName of a DestinationRule",
    "2.9.7": "replaced certificate files are read again",
    "2.9.8": "SPIFFE IDs",
    "2.9.9": "protocol versions and ciphers of the mesh",
    "2.10.1": "PeerAuthentication: mesh, namespace, workload, port",
    "2.10.2": "UNSET inherits; PERMISSIVE in the end",
    "2.10.3": "two at one scope: the older",
    "2.10.4": "ports are the workload's",
    "2.10.5": "STRICT closes plain connections, DISABLE takes nothing else",
    "2.10.6": "PERMISSIVE on an HTTP port",
    "2.10.7": "PERMISSIVE on a TCP port",
    "2.10.8": "PERMISSIVE on a port that says nothing",
    "2.10.9": "server-first protocols",
    "2.10.10": "ports that no service declares",
    "2.11.1": "which AuthorizationPolicies concern a workload",
    "2.11.2": "CUSTOM, DENY, ALLOW",
    "2.11.3": "what who is refused gets",
    "2.11.4": "no rules, and a rule without conditions",
    "2.11.5": "from, to, when; the not-forms",
    "2.11.6": "exact, prefix, suffix, presence",
    "2.11.7": "principals",
    "2.11.8": "namespaces",
    "2.11.9": "serviceAccounts",
    "2.11.10": "ipBlocks, remoteIpBlocks",
    "2.11.11": "requestPrincipals",
    "2.11.12": "hosts, ports, paths and their templates",
    "2.11.13": "keys of when",
    "2.11.14": "HTTP fields on a TCP port",
    "2.11.15": "CUSTOM",
    "2.11.16": "dry run",
    "2.11.17": "the order of what looks at a request",
    "2.11.18": "no spelling of a path gets round a rule",
    "2.12.1": "without a token: anonymous",
    "2.12.2": "a token that is not valid: 401",
    "2.12.3": "where tokens are looked for",
    "2.12.4": "several rules",
    "2.12.5": "what a valid token leaves",
    "2.12.6": "keys: inline, file, URI",
    "2.12.7": "CORS preflights need no token",
    "2.13.1": "x-forwarded-for at the edge",
    "2.13.2": "x-forwarded-proto",
    "2.13.3": "x-request-id",
    "2.13.4": "trace headers are passed on",
    "2.13.5": "x-forwarded-client-cert",
    "2.13.6": "headers of responses",
    "2.13.7": "headers that tell the application of timeouts and rewrites",
    "2.13.8": "HTTP/1.0, upgrades, Expect",
    "2.13.9": "names of headers are lower-case",
    "2.14.1": "servers of several Gateways are joined by port",
    "2.14.2": "SNI chooses the server, then Host the VirtualService",
    "2.14.3": "PASSTHROUGH, AUTO_PASSTHROUGH",
    "2.14.4": "MUTUAL, OPTIONAL_MUTUAL",
    "2.14.5": "TLS routes by server name",
    "2.14.6": "TCP routes, split by connection",
    "2.14.7": "TCP has no fault, retry, rewrite, mirror",
    "2.15.1": "resolution of a ServiceEntry",
    "2.15.2": "what leads to a ServiceEntry: Host, SNI, address",
    "2.15.3": "the port of an endpoint; Unix sockets",
    "2.15.4": "workloadSelector of a ServiceEntry",
    "2.15.5": "two ServiceEntries for one host",
    "2.15.6": "outboundTrafficPolicy",
    "2.15.7": "which Sidecar, and what it lets see",
    "2.15.8": "calls by address",
    "2.16": "the protocol of a port",
    "2.17": "response flags and their statuses",
}


# ---- fields ------------------------------------------------------------------------------------------------------

def explain(*what):
    r = subprocess.run([kvmesh.tool("kvmeshctl"), "explain", *what, "-o", "json"], capture_output=True, text=True,
                       timeout=kvmesh.DEADLINE, check=True)
    return json.loads(r.stdout)


def message_of(type_name):
    """HTTPRoute of "HTTPRoute[]" and of "map<string, HTTPRoute>"."""
    return re.sub(r"^map<string, (.*)>$", r"\1", type_name).removesuffix("[]")


def state(f):
    word = {"works": "works", "not enforced yet": "not yet"}.get(f["status"], f["status"])
    return word if word == "works" else f"{word}: {f.get('note', '')}"


def rows(fields):
    return ["| field | type | since | here |", "|---|---|---|---|"] + [
        f"| `{f['name']}` | {f['type'].replace('<', '&lt;')} | {f.get('since', '')} | {state(f)} |" for f in fields]


def describe(path, fields, seen, out):
    """The messages below a path, each once, in the order in which they come."""
    below = []
    for f in fields:
        whole = explain(f"{path}.{f['name']}")
        name = message_of(f["type"])
        if whole.get("fields") and (name, len(whole["fields"])) not in seen:
            seen.add((name, len(whole["fields"])))
            below.append((name, f"{path}.{f['name']}", whole["fields"]))
    for name, at, inner in below:
        out += ["", f"### {name}", f"at `{at}`", ""] + rows(inner)
        describe(at, inner, seen, out)


def kinds():
    return [k for k in explain() if "istio.io" in k["api"]]


def fields_part():
    out = []
    for k in kinds():
        out += ["", f"## {k['kind']}"]
        if k["status"] != "works":
            out += ["", f"The kind as a whole: {k['status']}."]
        fields = explain(k["kind"])
        out += [""] + rows(fields)
        describe(k["kind"], fields, set(), out)
    return out


# ---- rules -------------------------------------------------------------------------------------------------------

def rules_of(text):
    """Numbers that the tests of a file are named after, by function name or by parameter."""
    found = set()
    for name in re.findall(r"^def test_(?:rule_)?((?:\d+_){2,})", text, re.M):
        first, second, *rest = name.rstrip("_").split("_")
        found |= {f"{first}.{second}.{n}" for n in rest} or {f"{first}.{second}"}
    return found | set(re.findall(r'\("(\d\.\d+\.\d+)", ', text))


def tested():
    where = {}
    for path in sorted(WIRE.glob("test_*.py")):
        for rule in rules_of(path.read_text()):
            where.setdefault(rule, []).append(path.name)
    return where


def rules_part():
    where = tested()
    out = ["", "## Rules", "", "The wire tests that are named after each rule:", "", "| rule | | tests |", "|---|---|---|"]
    for rule, title in RULES.items():
        out.append(f"| {rule} | {title} | {', '.join(where.get(rule, [])) or 'open'} |")
    return out


# ---- golden cases ------------------------------------------------------------------------------------------------

@functools.cache
def fields_at(path):
    found = explain(path)
    return {f["name"]: f for f in (found if isinstance(found, list) else found.get("fields", []))}


def used(path, message, value, out):
    """(message, field) of what a resource sets, at whatever depth."""
    for name, v in value.items():
        f = fields_at(path).get(name)
        if not f:
            continue
        out.add((message, name))
        inner = v.values() if f["type"].startswith("map<") and isinstance(v, dict) else v if isinstance(v, list) else [v]
        for x in inner:
            if isinstance(x, dict):
                used(f"{path}.{name}", message_of(f["type"]), x, out)


def working(path, message, out):
    """(message, field) of what works, at whatever depth."""
    for name, f in fields_at(path).items():
        if f["status"] != "works" or (message, name) in out:
            continue
        out.add((message, name))
        working(f"{path}.{name}", message_of(f["type"]), out)


def without_golden_case():
    """Fields that work and that no case of tests/golden sets."""
    have, want = set(), set()
    for case in (kvmesh.TOP / "tests" / "golden").glob("*/model.ok"):
        for r in json.loads(case.read_text()).get("resources", []):
            used(r["kind"], r["kind"], r.get("spec", {}), have)
    for k in kinds():
        working(k["kind"], k["kind"], want)
    return sorted(want - have)


def page():
    return HEAD + "\n".join(rules_part() + fields_part()) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page())
    else:
        sys.stdout.write(page())
