/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chash: see chash.h. Layer core. Ring: points of each endpoint in proportion to its weight, the
 * key belongs to the next point. Maglev (Eisenbud et al., NSDI 2016): a table that endpoints fill
 * in turn by their own permutation. A key whose endpoint is away goes on to the next one on the
 * ring, or to another slot of the table drawn by the key itself.
 */
#include "core/chash.h"

#include <stdlib.h>

#include "base/hash.h"

struct point {
	uint64_t at;
	uint32_t endpoint;
};
struct chash {
	size_t n;
	struct point *ring;             /* by at; NULL: maglev */
	uint32_t *table;
};

static uint64_t name_hash(const struct snap_endpoint *e, uint64_t seed)
{
	uint64_t h = hash_bytes(e->address.p, e->address.n, seed);

	return hash_bytes(&e->port, sizeof(e->port), h);
}

static int64_t total_weight(const struct snap_cluster *c)
{
	int64_t sum = 0;

	for (size_t i = 0; i < c->endpoints.n; i++)
		sum += c->endpoints.v[i].weight;
	return sum;
}

static int64_t max_weight(const struct snap_cluster *c)
{
	int64_t max = 0;

	for (size_t i = 0; i < c->endpoints.n; i++)
		max = c->endpoints.v[i].weight > max ? c->endpoints.v[i].weight : max;
	return max;
}

/* ---- ring ----------------------------------------------------------------------------------- */

static int by_place(const void *x, const void *y)
{
	const struct point *a = x, *b = y;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return (a->endpoint > b->endpoint) - (a->endpoint < b->endpoint);
}

/*
 * Points of the heaviest endpoint, so that all together are at least size. A power of two: it
 * rarely changes when an endpoint comes or goes, and then no key moves but the ones that must.
 */
static size_t most_points(const struct snap_cluster *c, size_t size, int64_t max)
{
	double share = (double)max / (double)total_weight(c) * (double)size;
	size_t n = 1;

	while ((double)n < share)
		n *= 2;
	return n;
}

static size_t points_of(int64_t weight, int64_t max, size_t most)
{
	size_t n = (size_t)((double)weight / (double)max * (double)most);

	return n > 0 ? n : 1;
}

static void make_ring(struct chash *t, const struct snap_cluster *c, size_t size)
{
	int64_t max = max_weight(c);
	size_t most = most_points(c, size, max), n = 0;

	for (size_t i = 0; i < c->endpoints.n; i++)
		n += points_of(c->endpoints.v[i].weight, max, most);
	t->ring = kv_zalloc(n * sizeof(*t->ring));
	for (size_t i = 0; i < c->endpoints.n; i++) {
		const struct snap_endpoint *e = &c->endpoints.v[i];

		for (size_t k = points_of(e->weight, max, most); k > 0; k--)
			t->ring[t->n++] = (struct point){ name_hash(e, k), (uint32_t)i };
	}
	qsort(t->ring, t->n, sizeof(*t->ring), by_place);
}

static size_t place_of(const struct chash *t, uint64_t key)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->ring[mid].at < key)
			low = mid + 1;
		else
			high = mid;
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): chash_new makes no empty ring */
	return low % t->n;
}

/* A ring has up to 8 million points: where the next of a usable endpoint is far away, it is not walked to. */
#define POINTS_MAX 1024

/* Each key ranks the endpoints in an order of its own. */
static size_t best_usable(const struct lb_set *set, uint64_t key)
{
	size_t best = LB_NONE;
	uint64_t most = 0;

	for (size_t i = 0; i < set->n; i++) {
		uint64_t rank = hash_bytes(&i, sizeof(i), key);

		if ((best == LB_NONE || rank > most) && set->get(set->arg, i).usable) {
			best = i;
			most = rank;
		}
	}
	return best;
}

static size_t pick_on_ring(const struct chash *t, const struct lb_set *set, uint64_t key)
{
	size_t at = place_of(t, key);
	uint32_t before = UINT32_MAX;

	for (size_t i = 0; i < t->n && i < POINTS_MAX; i++) {
		uint32_t e = t->ring[(at + i) % t->n].endpoint;

		if (e != before && set->get(set->arg, e).usable)
			return e;
		before = e;
	}
	return best_usable(set, key);
}

/* ---- maglev --------------------------------------------------------------------------------- */

struct filler {                         /* one endpoint while the table is filled */
	uint64_t offset, skip, next;
	double weight, turn;            /* it fills once turn has come to 1 */
};

static void fill_one(struct chash *t, struct filler *f, uint32_t endpoint)
{
	uint64_t slot;

	do
		slot = (f->offset + f->skip * f->next++) % t->n;
	while (t->table[slot] != UINT32_MAX);
	t->table[slot] = endpoint;
}

static void make_maglev(struct chash *t, const struct snap_cluster *c, size_t size)
{
	size_t n = c->endpoints.n, filled = 0;
	struct filler *f = kv_zalloc(n * sizeof(*f));
	int64_t max = max_weight(c);

	t->n = size;
	t->table = kv_malloc(size * sizeof(*t->table));
	memset(t->table, 0xff, size * sizeof(*t->table));
	for (size_t i = 0; i < n; i++)
		f[i] = (struct filler){
			.offset = name_hash(&c->endpoints.v[i], 0) % size,
			.skip = name_hash(&c->endpoints.v[i], 1) % (size - 1) + 1,
			.weight = (double)c->endpoints.v[i].weight / (double)max,
		};
	for (size_t i = 0; filled < size; i = (i + 1) % n) {
		f[i].turn += f[i].weight;
		if (f[i].turn < 1)
			continue;
		f[i].turn -= 1;
		fill_one(t, &f[i], (uint32_t)i);
		filled++;
	}
	free(f);
}

static size_t pick_in_table(const struct chash *t, const struct lb_set *set, uint64_t key)
{
	for (uint64_t k = 0; k < 2 * set->n; k++) {
		uint64_t h = k == 0 ? key : hash_bytes(&key, sizeof(key), k);
		uint32_t e = t->table[h % t->n];

		if (set->get(set->arg, e).usable)
			return e;
	}
	return best_usable(set, key);
}

/* ---- both ----------------------------------------------------------------------------------- */

static size_t size_of(const struct snap_cluster *c)
{
	int64_t n = c->hash ? c->hash->table_size : 0;

	if (c->lb == SNAP_LB_MAGLEV)
		return n > 1 ? (size_t)n : CHASH_MAGLEV_SIZE;
	if (n < CHASH_RING_MIN)
		n = CHASH_RING_MIN;
	return n < CHASH_RING_MAX ? (size_t)n : CHASH_RING_MAX;
}

struct chash *chash_new(const struct snap_cluster *c)
{
	struct chash *t;

	if (c->endpoints.n == 0)
		return NULL;
	t = kv_zalloc(sizeof(*t));
	if (c->lb == SNAP_LB_MAGLEV)
		make_maglev(t, c, size_of(c));
	else
		make_ring(t, c, size_of(c));
	return t;
}

void chash_free(struct chash *t)
{
	if (!t)
		return;
	free(t->ring);
	free(t->table);
	free(t);
}

size_t chash_pick(const struct chash *t, const struct lb_set *set, uint64_t key)
{
	if (!t || set->n == 0)
		return LB_NONE;
	return t->ring ? pick_on_ring(t, set, key) : pick_in_table(t, set, key);
}
