/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind_scalar: which docs a field of a type takes as its value, and how a map field's entries are
 * written; shared by reading, the canonical form and visiting. Layer doc, private.
 */
#pragma once

#include "doc/bind.h"

/* Each: true and the value when d can be one. Quoted YAML strings are strings and nothing else. */
bool bind_to_bool(const struct doc *d, bool *ret);
bool bind_to_int(const struct doc *d, int64_t *ret);
bool bind_to_real(const struct doc *d, double *ret);
bool bind_to_duration(const struct doc *d, int64_t *ret_us);

/* The field with that lowerCamelCase or snake_case name, or NULL. */
const struct field *bind_field_of(const struct bind_table *t, struct str key);

/* One entry of a FIELD_MAP or FIELD_LABELS, in whichever form it was written. */
struct bind_entry {
	struct str key;            /* p == NULL: it has none */
	const struct doc *key_doc; /* that gave the key, for messages and presence */
	const struct doc *val;     /* the value; NULL: none, or the other members of owner */
	const struct doc *owner;   /* flattened form: the map that holds the members, else NULL */
	const char *key_name;      /* flattened form: the member that is not the value's */
};
/* Entry i of d (a map, or a list of pairs, of flattened maps or of "k=v"). Key text may go to a. */
struct bind_entry bind_entry_at(const struct field *f, const struct doc *d, size_t i,
				struct arena *a);

/* The name nearest to word, or NULL when none is near. */
const char *bind_nearest_field(const struct bind_table *t, struct str word);
const char *bind_nearest_word(const char *const *words, struct str word);
