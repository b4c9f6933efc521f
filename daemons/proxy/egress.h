/* SPDX-License-Identifier: Apache-2.0 */
/*
 * egress: where data may leave for (snap/residency.h) as the proxy asks it: once for each connection
 * that it makes, about the address that it dials; and beforehand for endpoints, so that those which
 * may be used are chosen. Owns the database of countries: a file that turns bad leaves the last good
 * one in use. Layer proxy.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "io/sock.h"
#include "proxy/attach.h"

/* ---- control thread -------------------------------------------------------------------------- */
struct egress;
struct egress *egress_new(void);
void egress_free(struct egress *e);
/* Before anything serves it: rules and endpoints of an attachment, with the database as it is now. */
void egress_attach(struct egress *e, struct attached *at);
/* The file was replaced and the new one is read: what is attached is to be made anew. */
bool egress_is_outdated(struct egress *e);

/* An opened database, counted by the attachments that use it. */
struct egress_base;
void egress_base_unref(struct egress_base *b);

/* ---- any thread ------------------------------------------------------------------------------ */
struct stats;
/*
 * May w's process connect to a? way: what is known of it. False: err has the word for the log
 * (KV_ERR_REFUSED). Counts, and tells what is refused or would be.
 */
bool egress_allows(const struct attached *at, struct stats *stats, const struct attached_way *way,
		   const struct sock_addr *a, struct err *err);
/* The same of "host:port" that a proxy out there is asked for: nobody here looks the name up. */
bool egress_allows_host(const struct attached *at, struct stats *stats, struct str host, struct err *err);
/* Without counting; true where there is no policy, and where it only looks. */
bool egress_would_allow(const struct attached *at, const struct attached_way *way,
			const struct sock_addr *a);
bool egress_would_allow_host(const struct attached *at, struct str host);
/* What a ServiceEntry declares of the host that was looked up for an address. */
void egress_way_of_entry(const struct attached *at, struct str host, struct attached_way *way);
/* An endpoint that was left out is all that there was. */
void egress_note_refused(struct stats *stats, const struct residency_answer *a);
