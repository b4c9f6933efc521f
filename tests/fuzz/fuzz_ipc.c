/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_ipc: a peer's bytes on a control socket. Input: size of the pieces in which they come, then the
 * bytes. What is read are the bytes between NULs, in order; nothing longer than the cap is ever held;
 * what parses as a call or a reply parses to the same once it is written.
 */
#include "config.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "ipc/frame.h"

#define LONGEST 512u

static void check_call(struct str text, struct arena *a)
{
	struct frame_call call, again;
	struct err err = { 0 };

	if (frame_parse_call(text, a, &call, &err) < 0) {
		fuzz_assert(err.text[0] != '\0');
		return;
	}
	fuzz_assert(call.method.n > 0 && call.parameters && call.parameters->kind == DOC_MAP);
	struct str wire = frame_call(arena_strdup(a, call.method.p), call.parameters, call.more, a);

	fuzz_assert(wire.p[wire.n - 1] == '\0' && !memchr(wire.p, '\0', wire.n - 1));
	fuzz_assert(frame_parse_call(str_take(wire, wire.n - 1), a, &again, &err) == 0);
	fuzz_assert(again.more == call.more && str_eq(again.method, str_c(call.method.p)));
	fuzz_assert(str_eq(doc_to_json(again.parameters, a, false), doc_to_json(call.parameters, a, false)));
}

static void check_reply(struct str text, struct arena *a)
{
	struct frame_reply reply, again;
	struct err err = { 0 };

	if (frame_parse_reply(text, a, &reply, &err) < 0) {
		fuzz_assert(err.text[0] != '\0');
		return;
	}
	fuzz_assert(reply.parameters && reply.parameters->kind == DOC_MAP);
	if (reply.error.p)
		return;
	struct str json = doc_to_json(reply.parameters, a, false);
	struct str wire = frame_reply(json, reply.continues, a);

	fuzz_assert(wire.p[wire.n - 1] == '\0');
	fuzz_assert(frame_parse_reply(str_take(wire, wire.n - 1), a, &again, &err) == 0);
	fuzz_assert(!again.error.p && again.continues == reply.continues);
	fuzz_assert(str_eq(doc_to_json(again.parameters, a, false), json));
}

/* The messages that are whole; false: the peer is cut. */
static bool take_messages(struct frame_reader *r, struct str *rest)
{
	struct str text;

	while (frame_reader_peek(r, &text)) {
		struct arena a;

		if (text.n > LONGEST)           /* one byte of room more is there for the NUL */
			return false;
		fuzz_assert(text.n < rest->n && memcmp(text.p, rest->p, text.n) == 0);
		fuzz_assert(rest->p[text.n] == '\0');
		*rest = str_skip(*rest, text.n + 1);
		arena_init(&a, 0);
		check_call(text, &a);
		check_reply(text, &a);
		arena_done(&a);
		frame_reader_pop(r);
	}
	fuzz_assert(r->cap <= LONGEST + 1 && r->n <= r->cap);
	return !frame_reader_is_overlong(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int pair[2] = { -1, -1 };
	struct frame_reader r;

	if (size == 0)
		return 0;
	if (pair[0] < 0)
		fuzz_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	size_t piece = (size_t)data[0] + 1;
	struct str rest = str_from((const char *)data + 1, size - 1), left = rest;
	bool going = true;

	frame_reader_init(&r, LONGEST);
	while (going && left.n > 0) {
		struct str now = str_take(left, piece);
		size_t got = 0;

		fuzz_assert(send(pair[1], now.p, now.n, 0) == (ssize_t)now.n);
		left = str_skip(left, now.n);
		while (going && got < now.n) {
			ssize_t n = frame_reader_fill(&r, pair[0]);

			fuzz_assert(n > 0);
			got += (size_t)n;
			going = take_messages(&r, &rest);
		}
	}
	frame_reader_done(&r);
	if (!going) {                           /* what was not read goes with the connection */
		close(pair[0]);
		close(pair[1]);
		pair[0] = -1;
	}
	return 0;
}
