/* SPDX-License-Identifier: Apache-2.0 */
/* bind_scalar: values, names and entries as fields take them. Layer doc. */
#include "doc/bind_scalar.h"

#include <inttypes.h>

#include "doc/doc_plain.h"

/* ---- values --------------------------------------------------------------------------------- */

static bool is_plain(const struct doc *d)
{
	return d->kind == DOC_STR && d->plain;
}

bool bind_to_bool(const struct doc *d, bool *ret)
{
	if (d->kind == DOC_BOOL) {
		*ret = d->b;
		return true;
	}
	return is_plain(d) && doc_plain_to_bool(d->s, ret);
}

bool bind_to_int(const struct doc *d, int64_t *ret)
{
	if (d->kind == DOC_INT) {
		*ret = d->i;
		return true;
	}
	return is_plain(d) && doc_plain_to_int(d->s, ret);
}

bool bind_to_real(const struct doc *d, double *ret)
{
	if (d->kind == DOC_REAL || d->kind == DOC_INT) {
		*ret = d->kind == DOC_REAL ? d->r : (double)d->i;
		return true;
	}
	return is_plain(d) && doc_plain_to_real(d->s, ret);
}

bool bind_to_duration(const struct doc *d, int64_t *ret_us)
{
	return d->kind == DOC_STR && str_to_duration_us(d->s, ret_us);
}

/* ---- names ---------------------------------------------------------------------------------- */

static char upper(char c)
{
	return (char)(c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c);
}

/* "per_try_timeout" is perTryTimeout, "consecutive_5xx_errors" is consecutive5xxErrors. */
static bool is_snake_of(struct str key, const char *camel)
{
	for (size_t i = 0; i < key.n; i++) {
		char c = key.p[i];
		if (c >= 'A' && c <= 'Z')
			return false;
		if (c == '_') {
			if (++i == key.n)
				return false;
			c = upper(key.p[i]);
		}
		if (*camel++ != c)
			return false;
	}
	return *camel == '\0';
}

const struct field *bind_field_of(const struct bind_table *t, struct str key)
{
	bool snake = str_find(key, '_') >= 0;

	for (const struct field *f = t->fields; f->name; f++) {
		if (str_eq(key, str_c(f->name)))
			return f;
	}
	for (const struct field *f = t->fields; snake && f->name; f++) {
		if (is_snake_of(key, f->name))
			return f;
	}
	return NULL;
}

/* How far two names may be apart to be offered: a third of the letters, at least one, below 4. */
static unsigned reach(struct str word)
{
	size_t n = word.n / 3 + 1;

	return n < 2 ? 2 : n > 4 ? 4 : (unsigned)n;
}

/* Keeps the better of *best and name; *least is the distance of the best so far. */
static void consider(const char *name, struct str word, const char **best, unsigned *least)
{
	unsigned d = str_ieq(word, str_c(name)) ? 0 : str_distance(word, str_c(name), *least);

	if (d < *least) {
		*least = d;
		*best = name;
	}
}

const char *bind_nearest_field(const struct bind_table *t, struct str word)
{
	const char *best = NULL;
	unsigned least = reach(word);

	for (const struct field *f = t->fields; f->name; f++)
		consider(f->name, word, &best, &least);
	return best;
}

const char *bind_nearest_word(const char *const *words, struct str word)
{
	const char *best = NULL;
	unsigned least = reach(word);

	for (; *words; words++)
		consider(*words, word, &best, &least);
	return best;
}

/* ---- entries -------------------------------------------------------------------------------- */

/* The text of a key: a string, or a number of the native syntax ({ port = 9090; … }). */
static struct str key_text(const struct doc *d, struct arena *a)
{
	if (d->kind == DOC_STR)
		return d->s;
	if (d->kind == DOC_INT)
		return arena_printf(a, "%" PRId64, d->i);
	return STR_NULL;
}

/* { key = …; value = …; } rather than a flattened entry that happens to have a member "value". */
static bool is_pair(const struct field *f, const struct doc *e, const struct doc *val)
{
	if (!val || e->n != 2)
		return false;
	return f->type == FIELD_LABELS || val->kind == DOC_MAP ||
	       !bind_field_of(f->sub, STR("value"));
}

static struct bind_entry entry_of_map(const struct field *f, const struct doc *e, struct arena *a)
{
	const char *name = f->key_name ? f->key_name : "key";
	const struct doc *key = doc_get(e, str_c(name)), *val = doc_get(e, STR("value"));

	if (!key) {
		name = "key";
		key = doc_get(e, STR("key"));
	}
	struct bind_entry out = { .key_doc = key, .key = key ? key_text(key, a) : STR_NULL };
	if (is_pair(f, e, val)) {
		out.val = val;
	} else if (f->type == FIELD_MAP) {
		out.owner = e;
		out.key_name = name;
	}
	return out;
}

/* "k=v". The value becomes a string of its own. */
static struct bind_entry entry_of_text(const struct doc *e, struct arena *a)
{
	ptrdiff_t eq = str_find(e->s, '=');

	if (eq < 0)
		return (struct bind_entry){ 0 };
	struct doc *val = doc_copy(a, e);
	val->s = str_skip(e->s, (size_t)eq + 1);
	val->plain = false;
	return (struct bind_entry){ .key = str_take(e->s, (size_t)eq), .key_doc = e, .val = val };
}

struct bind_entry bind_entry_at(const struct field *f, const struct doc *d, size_t i,
				struct arena *a)
{
	const struct doc *e = d->v[i];

	if (d->kind == DOC_MAP)
		return (struct bind_entry){ .key = e->key, .key_doc = e, .val = e };
	if (e->kind == DOC_MAP)
		return entry_of_map(f, e, a);
	if (e->kind == DOC_STR && f->type == FIELD_LABELS)
		return entry_of_text(e, a);
	return (struct bind_entry){ 0 };
}
