/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame: bytes of a socket ⇄ NUL-ended messages, shared by server and both clients. Layer ipc, for
 * its own files. A reader owns the bytes received so far; it never holds more than its cap.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "doc/doc.h"

struct frame_reader {
	char *p;
	size_t n, cap;
	size_t scanned;                 /* bytes known to hold no NUL */
	size_t max;                     /* longest message without its NUL */
};

void frame_reader_init(struct frame_reader *r, size_t max);
void frame_reader_done(struct frame_reader *r);
/* One recv(2): bytes received, 0 at end of file, -errno, -ENOBUFS when the reader is full. */
ssize_t frame_reader_fill(struct frame_reader *r, int fd);
/* The first whole message, borrowed until frame_reader_pop. False: none yet. */
bool frame_reader_peek(struct frame_reader *r, struct str *ret);
void frame_reader_pop(struct frame_reader *r);
/* More bytes than a message may have and no end in sight. */
bool frame_reader_is_overlong(struct frame_reader *r);

struct frame_call {
	struct str method;
	struct doc *parameters;         /* a DOC_MAP, never NULL */
	bool more;
};
struct frame_reply {
	struct str error;               /* p == NULL: no error */
	struct doc *parameters;         /* a DOC_MAP, never NULL */
	bool continues;
};
int frame_parse_call(struct str text, struct arena *a, struct frame_call *ret, struct err *err);
int frame_parse_reply(struct str text, struct arena *a, struct frame_reply *ret, struct err *err);

/* Whole frames, the NUL at the end counted. parameters may be NULL for {}. */
struct str frame_call(const char *method, const struct doc *parameters, bool more, struct arena *a);
struct str frame_reply(struct str parameters_json, bool continues, struct arena *a);
struct str frame_error(const char *name, struct str message, struct arena *a);
