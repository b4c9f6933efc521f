/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_scope: what a caller sees of the mesh: exportTo, and the egress of its Sidecar
 * (2.1.6, 2.2.1, 2.15.7). Layer config. Destinations of routes are asked for exportTo alone: whoever
 * sees a VirtualService reaches what it leads to.
 */
#include "config/compile_parts.h"

static struct names_caller caller_of(const struct compile_client *client, int64_t port)
{
	return (struct names_caller){ .ns = client->ns, .sidecar = client->sidecar, .port = port };
}

bool compile_sees_part(const struct compile *c, const struct compile_client *client,
		       const struct names_service *part)
{
	return names_service_is_visible(c->m, part, client->ns);
}

bool compile_sees(const struct compile *c, const struct compile_client *client,
		  const struct compile_service *s, int64_t port)
{
	struct names_caller who = caller_of(client, port);
	if (!compile_is_visible(c, client, s))
		return false;
	for (size_t i = 0; i < s->n_parts; i++) {
		if (compile_sees_part(c, client, s->parts[i]) &&
		    names_port_find(s->parts[i], port) &&
		    names_sees(c->m, &who, s->parts[i]->ns, s->host))
			return true;
	}
	return false;
}

bool compile_sees_some(const struct compile *c, const struct compile_client *client,
		       const struct compile_service *s)
{
	for (size_t i = 0; i < s->ports.n; i++) {
		if (compile_sees(c, client, s, s->ports.v[i].number))
			return true;
	}
	return false;
}

const struct model_virtual_service *compile_virtual_service(const struct compile *c,
							    const struct compile_client *client,
							    struct str host, int64_t port,
							    struct str *ret_host)
{
	struct names_caller who = caller_of(client, port);
	return names_virtual_service_of(c->m, &who, host, ret_host);
}
