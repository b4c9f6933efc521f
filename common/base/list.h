/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list: intrusive doubly linked list with a sentinel head. Layer base.
 * A node that is on no list points at itself; list_del leaves it so, hence deleting twice is
 * harmless.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(l)                                                                               \
	{                                                                                          \
		.next = &(l), .prev = &(l)                                                         \
	}
#define list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))
#define list_for_each(it, l) for (struct list *it = (l)->next; it != (l); it = it->next)
/* The body may delete it. */
#define list_for_each_safe(it, l)                                                                  \
	for (struct list *it = (l)->next, *it##_next = it->next; it != (l);                        \
	     it = it##_next, it##_next = it->next)

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}
static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}
static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = n->prev = n;
}
static inline void list_insert_after(struct list *pos, struct list *n)
{
	n->next = pos->next;
	n->prev = pos;
	pos->next->prev = n;
	pos->next = n;
}
static inline void list_push_front(struct list *l, struct list *n)
{
	list_insert_after(l, n);
}
static inline void list_push_back(struct list *l, struct list *n)
{
	list_insert_after(l->prev, n);
}
