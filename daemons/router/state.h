/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state: the configuration in force: model, generation, one snapshot per proxy, identities. Layer
 * daemons/router. A load is all or nothing: what is wrong changes nothing and is remembered as
 * findings. Owns store and model.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "config/model.h"
#include "router/compiled.h"
#include "router/health.h"
#include "router/store.h"

struct state_proxy {
	char *name;
	int64_t version;                /* generation that changed its content last */
	uint64_t hash;
	char *snapshot;                 /* JSON object */
	size_t snapshot_bytes;
};

struct state {
	char *etc_dir;
	char *keys_dir;                 /* STATE/jwks: of the CA's tokens */
	char *kept_path;                /* STATE/router/last.json */
	char node_name[256];
	struct store *store;
	struct health *health;
	struct model *model;            /* NULL: what is in force was kept from an earlier run */
	int64_t generation;             /* 0: nothing is in force */
	int64_t loaded_at_us;
	char digest[COMPILED_DIGEST_BYTES];
	int64_t given;                  /* highest generation ever given out, and what it was */
	char given_digest[COMPILED_DIGEST_BYTES];
	struct state_proxy *proxies;
	size_t n_proxies;
	char *identities;               /* JSON object: the reply to Identities */
	int64_t identities_generation;  /* that made them */
	struct {
		int64_t at_us;          /* 0: none yet */
		bool ok, changed;
		struct err_list findings;
	} last;
};

enum state_outcome {
	STATE_UNCHANGED,                /* loaded; means the same as before */
	STATE_CHANGED,                  /* loaded; generation grew */
	STATE_REFUSED,                  /* state.last.findings says why; nothing changed */
};

/* Open the store and what an earlier run kept, which is then in force. */
int state_open(const char *etc_dir, const char *state_dir, struct state *ret, struct err *err);
void state_close(struct state *s);
/* by: "start", "file change", "reload uid N". */
enum state_outcome state_load(struct state *s, const char *by, int64_t now_us);
/*
 * The workloads' health changed: the same model compiled again. True: a snapshot changed, and the
 * generation grew. False as well while there is no model, what is in force then stays as it was kept.
 */
bool state_refresh(struct state *s);
/* Write what is in force to disk; after the proxies were told, for it takes a while. */
void state_keep(const struct state *s);
const struct state_proxy *state_proxy_find(const struct state *s, struct str name);

/* Read and check without a state, for -t and -T: 0 or the first error's code. *ret in any case. */
int state_try(const char *etc_dir, const char *state_dir, struct model **ret, struct err_list *errs);
