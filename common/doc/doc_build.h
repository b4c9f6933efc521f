/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_build: how a reader makes a tree out of a run of "open, key, value, close". Layer doc,
 * private. It holds what all syntaxes share: the caps on depth and nodes, unique keys, places.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/map.h"
#include "doc/doc.h"

/* Nodes of one file or message; about 80 bytes each. */
#define DOC_NODES_MAX_FILE (1u << 19)
#define DOC_NODES_MAX_MESSAGE (1u << 21)

/* Hang child into a list, or into a map under its key, which must be new. Returns child. */
struct doc *doc_append(struct arena *a, struct doc *box, struct doc *child);

struct doc_frame {
	struct doc *box; /* the open map or list */
	struct str key;  /* of the member to come */
	struct origin key_at;
	bool drop; /* the member to come has a duplicate key */
	bool indexed;
	struct map index; /* key → doc, only in maps that grew large */
};

struct doc_builder {
	struct arena *a;
	struct err_list *errs;
	struct doc *root;
	struct doc_frame frames[DOC_DEPTH_MAX];
	size_t depth, n_nodes, n_nodes_max;
};

void doc_builder_init(struct doc_builder *b, struct arena *a, struct err_list *errs,
		      size_t n_nodes_max);
/* Frees the indexes; the tree stays in the arena. */
void doc_builder_done(struct doc_builder *b);
/* Forget a tree that was begun. */
void doc_builder_reset(struct doc_builder *b);

/* A node that is in no tree yet. NULL and a finding when the cap on nodes is reached. */
struct doc *doc_builder_node(struct doc_builder *b, enum doc_kind kind, struct origin at);
/* Hang a finished scalar in. */
void doc_builder_put(struct doc_builder *b, struct doc *d);
/* Open a map or list. 0, or a code and a finding when a cap is reached: the reader must stop. */
int doc_builder_open(struct doc_builder *b, enum doc_kind kind, struct origin at);
void doc_builder_close(struct doc_builder *b);
/* A map is open and its next event is a name. */
bool doc_builder_wants_key(const struct doc_builder *b);
/* Name of the next member; the bytes live in the arena. A duplicate is a finding. */
void doc_builder_key(struct doc_builder *b, struct str key, struct origin at);
