/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_oracle: nghttp2 by itself with its own checks of messages, fed with what the codec is fed with. What the codec
 * lets pass, it must have let pass as well.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>

#define H2_ORACLE_STREAMS 512

struct h2_oracle {
	nghttp2_session *session;
	bool blind;                     /* it ended, or saw too many streams: it has nothing more to say */
	size_t n;
	struct h2_oracle_stream {
		int32_t id;
		unsigned heads;         /* HEADERS that passed, of trailers too */
		bool ended;
	} v[H2_ORACLE_STREAMS];
};

/* Settings are those of the codec. */
void h2_oracle_init(struct h2_oracle *o, bool server, const nghttp2_settings_entry *mine, size_t n);
void h2_oracle_done(struct h2_oracle *o);
/* As client: a request of ours. */
void h2_oracle_ask(struct h2_oracle *o, int32_t id, const char *method, bool tunnel);
void h2_oracle_feed(struct h2_oracle *o, const void *p, size_t n);
/* Has so much of this stream passed? Yes, when it cannot say. */
bool h2_oracle_passed(const struct h2_oracle *o, int32_t id, unsigned heads, bool end);
