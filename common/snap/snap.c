/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snap: life, load and dump of snapshots. Layer snap. A snap owns one arena; the JSON it came from
 * is gone.
 */
#include "snap/snap.h"

#include "base/hash.h"

struct snap *snap_new(void)
{
	struct snap *s = kv_zalloc(sizeof(*s));
	arena_init(&s->arena, 0);
	s->refs = 1;
	return s;
}

struct snap *snap_ref(struct snap *s)
{
	__atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void snap_unref(struct snap *s)
{
	if (!s || __atomic_fetch_sub(&s->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	arena_done(&s->arena);
	free(s);
}

static int bind_and_check(struct snap *s, const struct doc *d, struct err *err)
{
	struct err_list errs;
	err_list_init(&errs);
	int r = bind_read(&snap_table, d, "snapshot", &s->arena, s, &errs);
	if (r < 0) {
		kv_assert(errs.n > 0);
		if (err)
			*err = errs.v[0];
	}
	err_list_done(&errs);
	return r < 0 ? r : snap_check(s, err);
}

int snap_read(const struct doc *d, struct snap **ret, struct err *err)
{
	struct snap *s = snap_new();
	int r = bind_and_check(s, d, err);
	if (r < 0) {
		snap_unref(s);
		return r;
	}
	*ret = s;
	return 0;
}

static uint64_t hash_content(const struct snap *s, size_t *ret_bytes)
{
	struct arena scratch;
	arena_init(&scratch, 0);
	struct snap same = *s;
	same.version = 0;
	struct str json = snap_dump(&same, &scratch, false);
	uint64_t h = hash_str(json);
	*ret_bytes = json.n;
	arena_done(&scratch);
	return h;
}

static int read_and_hash(const struct doc *d, struct snap **ret, struct err *err)
{
	int r = snap_read(d, ret, err);
	if (r == 0)
		(*ret)->hash = hash_content(*ret, &(*ret)->bytes);
	return r;
}

int snap_load(struct str json, struct snap **ret, struct err *err)
{
	struct arena scratch;
	arena_init(&scratch, 0);
	struct doc *d;
	int r = doc_read_json(json, &scratch, &d, err);
	if (r == 0)
		r = read_and_hash(d, ret, err);
	arena_done(&scratch);
	return r;
}

int snap_copy(const struct snap *s, struct snap **ret, struct err *err)
{
	struct arena scratch;
	arena_init(&scratch, 0);
	int r = read_and_hash(bind_write(&snap_table, s, &scratch), ret, err);
	arena_done(&scratch);
	return r;
}

struct str snap_dump(const struct snap *s, struct arena *a, bool pretty)
{
	return doc_to_json(bind_write(&snap_table, s, a), a, pretty);
}

uint64_t snap_content_hash(const struct snap *s)
{
	size_t bytes;
	return hash_content(s, &bytes);
}
