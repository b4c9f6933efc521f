#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The four programs of Istio's Bookinfo sample, in small: productpage asks details and reviews, reviews v2 and v3 ask ratings.

usage: bookinfo_app.py productpage|details|reviews-v1|reviews-v2|reviews-v3|ratings PORT MESH-PORT

They know nothing of the mesh but its HTTP port, and pass on the headers that a mesh asks programs to pass on.
"""

import http.client
import http.server
import json
import sys

PASSED_ON = ("x-request-id", "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled",
             "end-user")
RATINGS_TIMEOUT, PAGE_TIMEOUT, PAGE_TRIES = 10, 3, 2
STARS = {"reviews-v2": "black", "reviews-v3": "red"}


def ask(app, host, path, headers, timeout):
    """(status, object) of another service through the mesh; status 0: no answer in time."""
    c = http.client.HTTPConnection("127.0.0.1", app.mesh, timeout=timeout)
    try:
        c.request("GET", path, headers={"Host": f"{host}:9080", **headers})
        r = c.getresponse()
        return r.status, json.loads(r.read())
    except (OSError, http.client.HTTPException, ValueError) as e:
        return getattr(e, "status", 0), None
    finally:
        c.close()


def productpage(app, path, headers):
    if path != "/productpage":
        return 404, {"error": "no such page"}
    status, details = ask(app, "details", "/details/0", headers, PAGE_TIMEOUT)
    page = {"details": details if status == 200 else "Sorry, product details are currently unavailable for this book."}
    for _ in range(PAGE_TRIES):
        status, reviews = ask(app, "reviews", "/reviews/0", headers, PAGE_TIMEOUT)
        if status == 200:
            break
    page["reviews"] = reviews if status == 200 else "Sorry, product reviews are currently unavailable for this book."
    return 200, page


def details(app, path, headers):
    return 200, {"id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200, "language": "English"}


def ratings(app, path, headers):
    return 200, {"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}


def reviews(app, path, headers):
    answer = {"podname": app.role, "reviews": [{"reviewer": "Reviewer1", "text": "Slapstick."}, {"reviewer": "Reviewer2", "text": "Fun."}]}
    if app.role in STARS:
        status, got = ask(app, "ratings", "/ratings/0", headers, RATINGS_TIMEOUT)
        for r in answer["reviews"]:
            r["rating"] = ({"stars": got["ratings"][r["reviewer"]], "color": STARS[app.role]} if status == 200
                           else {"error": "Ratings service is currently unavailable"})
    return 200, answer


class App(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, role, port, mesh):
        self.role, self.mesh = role, mesh
        self.answer = {"productpage": productpage, "details": details, "ratings": ratings}.get(role, reviews)
        super().__init__(("127.0.0.1", port), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        headers = {k: self.headers[k] for k in PASSED_ON if k in self.headers}
        status, body = self.server.answer(self.server, self.path, headers)
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    App(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).serve_forever()
