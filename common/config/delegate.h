/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delegate: the HTTP routes of a VirtualService with those of its delegates put in their place (rule
 * 2.2.6). Layer config. Pure: results are in the arena given and borrow from the model.
 */
#pragma once

#include "config/model.h"

struct delegate_route {
	const struct model_http_route *route;   /* joined, or the VirtualService's own */
	const struct model_virtual_service *by; /* who wrote it */
};
struct delegate_routes {
	struct delegate_route *v;
	size_t n;
};

/* The VirtualService that a route of vs hands over to; NULL: none that vs may use. */
const struct model_virtual_service *delegate_find(const struct model *m,
						  const struct model_virtual_service *vs,
						  const struct model_http_route *r);
/* The route of a delegate below one of its root; NULL: its matches leave what the root selects. */
const struct model_http_route *delegate_join(const struct model_http_route *root,
					     const struct model_http_route *sub, struct arena *a);
/* In order, one level deep; what cannot be joined is left out. */
struct delegate_routes delegate_expand(const struct model *m,
				       const struct model_virtual_service *vs, struct arena *a);
