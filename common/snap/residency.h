/* SPDX-License-Identifier: Apache-2.0 */
/*
 * residency: may data leave for that address? The rules of egressPolicy in kvmesh.conf as a proxy
 * gets them, and the one decision over them, which the proxy, explain and analyze share. Layer snap;
 * included by snap.h. No I/O: what a database of countries says is looked up in the one handed over
 * (snap/countries.h).
 *
 * Decided is the address that is dialled, never a name. Whoever says something about where it is must
 * say an allowed country: the ranges that are declared, the ServiceEntry of the service, the database.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "doc/bind.h"

#define RESIDENCY_RANGES_MAX 10000
#define RESIDENCY_COUNTRY 3             /* "DE" and its end; "" unknown */

struct snap_range {
	struct str cidr, country;
};
struct snap_declared {                  /* a host of a ServiceEntry */
	struct str host;                /* lower case; "*.suffix" */
	struct str country;             /* "" it says nothing */
	bool internal;                  /* MESH_INTERNAL */
};
struct snap_residency {
	struct str_list allow;          /* countries, at least one */
	bool allow_unknown;
	bool audit;                     /* count and tell, do not refuse */
	struct str database;            /* path of a MaxMind file, "" none */
	struct { struct snap_range *v; size_t n; } ranges;
	struct { struct snap_declared *v; size_t n; } hosts;
};
extern const struct bind_table snap_residency_table;
bool residency_is_country(struct str s);        /* two capital letters */
struct err;
/* What the table cannot tell: countries, ranges, their number. */
int residency_check(const struct snap_residency *p, struct err *err);

/* ---- the decision ------------------------------------------------------------------------------ */
struct countries;
struct residency;
/* Both are borrowed for its life; db may be NULL. p has passed residency_check. */
struct residency *residency_new(const struct snap_residency *p, const struct countries *db);
void residency_free(struct residency *r);
bool residency_audits(const struct residency *r);

struct residency_question {
	uint8_t addr[16];               /* IPv4 as ::ffff:a.b.c.d */
	bool named;                     /* it was found by looking a name up */
	bool internal;                  /* the service is one of the mesh: its name may be private */
	char country[RESIDENCY_COUNTRY];        /* declared for the service that has this address */
};
enum residency_verdict { RESIDENCY_INSIDE, RESIDENCY_ALLOWED, RESIDENCY_REFUSED };
enum residency_reason {
	RESIDENCY_FITS,
	RESIDENCY_COUNTRY_NOT_ALLOWED,
	RESIDENCY_UNKNOWN,              /* nobody knows where it is */
	RESIDENCY_REBOUND,              /* a name from outside leads to a private address */
};
enum residency_source { RESIDENCY_BY_NOBODY, RESIDENCY_BY_RANGE, RESIDENCY_BY_SERVICE, RESIDENCY_BY_DATABASE };
struct residency_answer {
	enum residency_verdict verdict;
	enum residency_reason reason;
	enum residency_source by;       /* whose word decided */
	char country[RESIDENCY_COUNTRY];        /* that word; "" unknown */
	bool contradicted;              /* they do not say the same */
};
void residency_judge(const struct residency *r, const struct residency_question *q,
		     struct residency_answer *ret);
/*
 * A destination that somebody else will look up: an address is judged as one, of a name counts what
 * is declared.
 */
void residency_judge_host(const struct residency *r, struct str host, struct residency_answer *ret);
/*
 * What a ServiceEntry declares for the host (exact, else its longest wildcard) goes into q. False:
 * there is none, q is as it was.
 */
bool residency_of_host(const struct residency *r, struct str host, struct residency_question *q);
/* The same of a cluster's service: one that is in no list is a Service of the mesh; "" is nobody's. */
void residency_of_service(const struct residency *r, struct str host, struct residency_question *q);
/* The same for an address that is written in text; false: it is no address. */
bool residency_read_address(struct str text, uint8_t ret[static 16]);
/* Loopback, private, link-local, shared and unspecified addresses; IPv4 in IPv6 is looked into. */
bool residency_is_private(const uint8_t addr[static 16]);
/* "residency_denied{country=US,by=database}" */
#define RESIDENCY_TEXT_MAX 80
const char *residency_text(const struct residency_answer *a, char buf[static RESIDENCY_TEXT_MAX]);
/* "the database says US, which is not allowed" */
const char *residency_words(const struct residency_answer *a, char buf[static RESIDENCY_TEXT_MAX]);
