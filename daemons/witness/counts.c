/* SPDX-License-Identifier: Apache-2.0 */
/* counts: see counts.h. Layer daemons/witness. */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "witness/counts.h"

void counts_init(struct counts *c)
{
	map_init(&c->by_name);
}

void counts_done(struct counts *c)
{
	for (struct map_entry *m = map_first(&c->by_name); m; m = map_next(&c->by_name, m)) {
		struct count *x = m->val;

		free(x->name);
		free(x);
	}
	map_done(&c->by_name);
}

void counts_restart(struct counts *c)
{
	for (struct map_entry *m = map_first(&c->by_name); m; m = map_next(&c->by_name, m)) {
		struct count *x = m->val;

		x->packets = x->bytes = 0;
	}
}

static void note(struct counts *c, struct str name, int64_t packets, int64_t bytes)
{
	struct count *x = map_get(&c->by_name, name);

	if (!x) {
		x = kv_zalloc(sizeof(*x));
		x->name = kv_asprintf("%.*s", STR_ARG(name));
		map_put(&c->by_name, str_c(x->name), x);
	}
	/* Smaller: somebody reset it. */
	x->fresh_packets += packets - (packets >= x->packets ? x->packets : 0);
	x->fresh_bytes += bytes - (bytes >= x->bytes ? x->bytes : 0);
	x->packets = packets;
	x->bytes = bytes;
}

bool counts_read(struct counts *c, const struct doc *json)
{
	const struct doc *list = doc_get(json, STR("nftables"));

	if (!list || list->kind != DOC_LIST)
		return false;
	for (size_t i = 0; i < list->n; i++) {
		const struct doc *d = doc_get(list->v[i], STR("counter"));
		struct str name = doc_get_str(d, "name", STR(""));
		int64_t packets = doc_get_int(d, "packets", -1), bytes = doc_get_int(d, "bytes", -1);

		if (d && name.n > 0 && packets >= 0 && bytes >= 0)
			note(c, name, packets, bytes);
	}
	return true;
}

struct count *counts_next(struct counts *c, struct map_entry **at)
{
	do
		*at = *at ? map_next(&c->by_name, *at) : map_first(&c->by_name);
	while (*at && ((struct count *)(*at)->val)->fresh_packets == 0);
	return *at ? (*at)->val : NULL;
}

void counts_tell(struct count *c)
{
	c->told_packets = c->fresh_packets;
	c->told_bytes = c->fresh_bytes;
}

void counts_told(struct counts *c, bool heard)
{
	for (struct map_entry *m = map_first(&c->by_name); m; m = map_next(&c->by_name, m)) {
		struct count *x = m->val;

		if (heard) {
			x->fresh_packets -= x->told_packets;
			x->fresh_bytes -= x->told_bytes;
		}
		x->told_packets = x->told_bytes = 0;
	}
}
