/* SPDX-License-Identifier: Apache-2.0 */
/*
 * canary: the weights of one service's VirtualService as they stand in its file. Layer daemons/ctl.
 * Nothing is kept anywhere else: what is changed is the text of the numbers, comments and form stay.
 */
#pragma once

#include "config/model.h"
#include "ctl/ctl.h"

#define CANARY_SUBSETS_MAX 32

struct canary_subset {
	struct str name;                /* of the destination; "" the service as a whole */
	int64_t weight;
	const struct doc *at;           /* the number in the file; NULL: none is written */
};
struct canary {
	const struct model *m;
	const struct model_virtual_service *vs;
	struct str fqdn;                /* of the service */
	size_t route;                   /* index into vs->http */
	struct canary_subset v[CANARY_SUBSETS_MAX];
	size_t n;
};

/*
 * The route of that service ("my-app", "my-app.default", the whole name) that splits traffic. 0, or
 * an exit code with the reason printed.
 */
int canary_find(struct ctl *c, const struct model *m, const char *service, struct canary *ret);
/* Those of the model that have such a route; in c's arena. */
size_t canary_all(struct ctl *c, const struct model *m, struct canary **ret);
/*
 * Write the weights of want (parallel to k->v) into the file and have the router read it; a file
 * that it refuses is put back. Returns an exit code.
 */
int canary_write(struct ctl *c, const struct canary *k, const int64_t *want);
