/* SPDX-License-Identifier: Apache-2.0 */
/* bind_path: the path of a walk in one buffer. Layer doc. */
#include "doc/bind_path.h"

#include <stdio.h>
#include <string.h>

static void append(struct bind_path *p, struct str s)
{
	s = str_take(s, sizeof(p->buf) - 1 - p->n);
	if (s.n > 0)
		memcpy(p->buf + p->n, s.p, s.n);
	p->n += s.n;
	p->buf[p->n] = '\0';
}

void bind_path_init(struct bind_path *p, const char *prefix)
{
	p->n = 0;
	p->buf[0] = '\0';
	append(p, str_c(prefix));
}

size_t bind_path_name(struct bind_path *p, struct str name)
{
	size_t old = p->n;

	if (old > 0)
		append(p, STR("."));
	append(p, name);
	return old;
}

size_t bind_path_index(struct bind_path *p, size_t i)
{
	char text[32];
	size_t old = p->n;
	int n = snprintf(text, sizeof(text), "[%zu]", i);

	append(p, str_from(text, (size_t)n));
	return old;
}

size_t bind_path_key(struct bind_path *p, struct str key)
{
	size_t old = p->n;

	append(p, STR("["));
	append(p, key);
	append(p, STR("]"));
	return old;
}

void bind_path_cut(struct bind_path *p, size_t n)
{
	p->n = n;
	p->buf[n] = '\0';
}
