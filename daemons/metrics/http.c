/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: evhttp for the exposition, see http.h. Layer metrics; owns the listening socket and the
 * requests under way. A request waits for its scrape; the text then leaves piece by piece as the
 * reader takes it.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/listener.h>

#include "base/log.h"
#include "metrics/http.h"
#include "metrics/prom.h"

#define HEADERS_BYTES_MAX (16u << 10)
#define BODY_BYTES_MAX 4096             /* read so that a POST can be told 405; never used */
#define TIMEOUT_S 10
#define REQUESTS_MAX 64                 /* that wait or are being written */
#define PIECE_BYTES (128u << 10)
#define PAUSE_US (100u * 1000)          /* no descriptors: accept again after this */

struct http {
	struct loop *loop;
	struct scrape *scrape;
	struct evhttp *ev;
	struct evhttp_bound_socket *bound;      /* NULL: none */
	struct sock_addr address;
	struct loop_timer resume;
	struct list requests;           /* struct request */
	size_t n_requests;
	char name[HOST_NAME_MAX + 1];
};

struct request {
	struct list node;
	struct http *http;
	struct evhttp_request *req;
	struct scrape_wait wait;
	struct prom *prom;              /* being written; NULL: still waiting */
	struct prom_cursor at;
};

/* ---- whom we answer ------------------------------------------------------------------------ */

static bool is_address(struct str s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;
	bool v6 = s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']';

	if (v6)
		s = str_take(str_skip(s, 1), s.n - 2);
	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	return inet_pton(v6 ? AF_INET6 : AF_INET, text, &a) == 1;
}

bool http_is_own_host(struct str host, struct str own_name)
{
	ptrdiff_t colon = str_rfind(host, ':'), bracket = str_rfind(host, ']');
	uint64_t port;

	if (colon >= 0 && colon > bracket) {
		if (!str_to_u64(str_skip(host, (size_t)colon + 1), &port) || port > 65535)
			return false;
		host = str_take(host, (size_t)colon);
	}
	/* An address cannot be rebound; of names only those that no stranger's DNS decides. */
	return str_ieq(host, STR("localhost")) || is_address(host) ||
	       (own_name.n > 0 && str_ieq(host, own_name));
}

/* Exactly one Host (none only in HTTP/1.0), and it is ours; so is the target's, when it has one. */
static bool is_for_us(const struct http *h, struct evhttp_request *req)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *target = uri ? evhttp_uri_get_host(uri) : NULL;
	struct evkeyvalq *headers = evhttp_request_get_input_headers(req);
	struct str own = str_c(h->name);
	size_t n = 0;

	for (struct evkeyval *kv = headers->tqh_first; kv; kv = kv->next.tqe_next) {
		if (!str_ieq(str_c(kv->key), STR("host")))
			continue;
		n++;
		if (!http_is_own_host(str_c(kv->value), own))
			return false;
	}
	if (target && !http_is_own_host(str_c(target), own))
		return false;
	return n == 1 || (n == 0 && req->major == 1 && req->minor == 0);
}

/* ---- short answers ------------------------------------------------------------------------- */

static void header(struct evhttp_request *req, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(req), name, value);
}

static void answer(struct evhttp_request *req, int status, const char *reason, const char *text)
{
	struct evbuffer *b = evbuffer_new();

	kv_assert(b);
	header(req, "Content-Type", "text/plain; charset=utf-8");
	header(req, "Cache-Control", "no-store");
	header(req, "X-Content-Type-Options", "nosniff");
	evbuffer_add_printf(b, "%s\n", text);
	evhttp_send_reply(req, status, reason, b);
	evbuffer_free(b);
}

/* ---- the exposition ------------------------------------------------------------------------ */

static void request_free(struct request *r)
{
	list_del(&r->node);
	r->http->n_requests--;
	scrape_cancel(&r->wait);
	prom_unref(r->prom);
	free(r);
}

/* The reader went away. */
static void on_gone(struct evhttp_connection *conn, void *arg)
{
	(void)conn;
	request_free(arg);
}

static void write_piece(struct evhttp_connection *conn, void *arg);

static void done(struct request *r)
{
	struct evhttp_request *req = r->req;

	evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
	request_free(r);
	evhttp_send_reply_end(req);
}

static void give_back(const void *data, size_t n, void *arg)
{
	(void)data;
	(void)n;
	free(arg);
}

static void write_piece(struct evhttp_connection *conn, void *arg)
{
	struct request *r = arg;
	size_t n;
	char *text = prom_write(r->prom, &r->at, PIECE_BYTES, &n);
	struct evbuffer *b;

	(void)conn;
	if (n == 0) {
		free(text);
		done(r);
		return;
	}
	b = evbuffer_new();
	kv_assert(b && evbuffer_add_reference(b, text, n, give_back, text) == 0);
	evhttp_send_reply_chunk_with_cb(r->req, b, write_piece, r);
	evbuffer_free(b);
}

static void on_scraped(void *arg, struct prom *p)
{
	struct request *r = arg;

	header(r->req, "Content-Type", PROM_CONTENT_TYPE);
	header(r->req, "Cache-Control", "no-store");
	header(r->req, "X-Content-Type-Options", "nosniff");
	if (evhttp_request_get_command(r->req) == EVHTTP_REQ_HEAD) {
		struct evhttp_request *req = r->req;

		evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
		request_free(r);
		evhttp_send_reply(req, HTTP_OK, "OK", NULL);
		return;
	}
	r->prom = prom_ref(p);
	evhttp_send_reply_start(r->req, HTTP_OK, "OK");
	write_piece(NULL, r);
}

static void on_metrics(struct http *h, struct evhttp_request *req)
{
	struct request *r;

	if (h->n_requests >= REQUESTS_MAX) {
		answer(req, HTTP_SERVUNAVAIL, "Service Unavailable", "too many requests at once");
		return;
	}
	r = kv_zalloc(sizeof(*r));
	r->http = h;
	r->req = req;
	list_init(&r->wait.node);
	list_push_back(&h->requests, &r->node);
	h->n_requests++;
	evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_gone, r);
	scrape_get(h->scrape, &r->wait, on_scraped, r);
}

static void on_request(struct evhttp_request *req, void *arg)
{
	struct http *h = arg;
	enum evhttp_cmd_type method = evhttp_request_get_command(req);
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	struct str path = str_c(uri ? evhttp_uri_get_path(uri) : NULL);

	if (!is_for_us(h, req)) {
		answer(req, 403, "Forbidden", "this name is not this machine's");
	} else if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
		header(req, "Allow", "GET, HEAD");
		answer(req, HTTP_BADMETHOD, "Method Not Allowed", "only GET and HEAD");
	} else if (evbuffer_get_length(evhttp_request_get_input_buffer(req)) > 0) {
		answer(req, HTTP_BADREQUEST, "Bad Request", "a body is not expected");
	} else if (str_eq(path, STR("/metrics")) || str_eq(path, STR("/stats/prometheus"))) {
		on_metrics(h, req);
	} else if (str_eq(path, STR("/healthz"))) {
		answer(req, HTTP_OK, "OK", "ok");
	} else {
		answer(req, HTTP_NOTFOUND, "Not Found", "try /metrics");
	}
}

/* ---- listening ----------------------------------------------------------------------------- */

static void on_resume(void *arg)
{
	struct http *h = arg;

	if (h->bound)
		evconnlistener_enable(evhttp_bound_socket_get_listener(h->bound));
}

/* The listener's argument is evhttp's own: there is one of us in a process. */
static struct http *serving;

/* Out of descriptors: rest instead of spinning. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	(void)arg;
	log_warn("cannot accept: %s", strerror(errno));
	evconnlistener_disable(listener);
	loop_timer_set(&serving->resume, PAUSE_US);
}

int http_listen(struct http *h, const struct sock_addr *a, struct err *err)
{
	struct evhttp_bound_socket *bound = NULL;
	struct sock_addr address = { .len = 0 };

	if (a) {
		int fd = sock_listen_tcp(a, 0, err);

		if (fd < 0)
			return fd;
		(void)sock_local_addr(fd, &address);
		bound = evhttp_accept_socket_with_handle(h->ev, fd);
		if (!bound) {
			close(fd);
			return err_set(err, -ENOMEM, "cannot serve HTTP on that address");
		}
		evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(bound),
					    on_accept_error);
	}
	if (h->bound)
		evhttp_del_accept_socket(h->ev, h->bound);
	h->bound = bound;
	h->address = address;
	return 0;
}

const struct sock_addr *http_address(const struct http *h)
{
	return h->bound ? &h->address : NULL;
}

/* ---- life ---------------------------------------------------------------------------------- */

struct http *http_new(struct loop *l, struct scrape *s)
{
	struct http *h = kv_zalloc(sizeof(*h));

	kv_assert(!serving);
	serving = h;
	h->loop = l;
	h->scrape = s;
	list_init(&h->requests);
	loop_timer_init(&h->resume, l, on_resume, h);
	if (gethostname(h->name, sizeof(h->name) - 1) != 0)
		h->name[0] = '\0';
	h->ev = evhttp_new(loop_base(l));
	kv_assert(h->ev);
	evhttp_set_timeout(h->ev, TIMEOUT_S);
	evhttp_set_max_headers_size(h->ev, HEADERS_BYTES_MAX);
	evhttp_set_max_body_size(h->ev, BODY_BYTES_MAX);
	evhttp_set_allowed_methods(h->ev, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD |
						  EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
						  EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |
						  EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH);
	evhttp_set_gencb(h->ev, on_request, h);
	return h;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	/* Closes every connection; those with a request under way call on_gone. */
	evhttp_free(h->ev);
	while (!list_is_empty(&h->requests))
		request_free(list_entry(h->requests.next, struct request, node));
	loop_timer_done(&h->resume);
	serving = NULL;
	free(h);
}
