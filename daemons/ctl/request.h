/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request: a request in words of the command line, as a proxy would have read it. Layer
 * daemons/ctl.
 */
#pragma once

#include "ctl/ctl.h"
#include "http/head.h"
#include "snap/snap.h"

struct request {
	bool http;         /* else opaque: only scheme, host and port are there */
	struct str scheme; /* "http", "https", "tcp", "tls" */
	struct str host;   /* of the URL, without port and brackets */
	uint16_t port;     /* 0: none was named */
	struct head head;  /* method, authority, path with query as given, fields */
};

/* Fields of --header NAME:VALUE, lower case, into h. 0, or an exit code with the reason printed. */
int request_headers(struct ctl *c, struct head *h);
/* [METHOD] URL of the command line. */
int request_parse(struct ctl *c, const char *method, const char *url, struct request *ret);
/* The path as this proxy takes it. False: none does (400). */
bool request_normalize(const struct snap *s, struct arena *a, struct head *h);
