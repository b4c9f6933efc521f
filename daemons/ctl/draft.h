/* SPDX-License-Identifier: Apache-2.0 */
/*
 * draft: the Workload of a unit that is to be injected: from the unit's name, what its files say in
 * lines that begin with X-KVMesh- (which systemd skips), options, and the ports it listens on; and
 * the file that is written of it. Layer daemons/ctl; pure.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/label.h"
#include "ctl/listening.h"

struct draft_port {
	uint16_t number;
	struct str name, protocol;      /* p == NULL: none */
	struct str why;                 /* for the comment */
};
struct draft {
	struct arena *a;
	struct str unit;                /* "redis-server@x.service" */
	struct str name, ns, account, address, sidecar;         /* p == NULL: the default */
	uint16_t mesh_port, http_port;  /* of a dedicated proxy; 0: none */
	struct labels labels, annotations;
	size_t cap_labels, cap_annotations;
	struct str labels_why;          /* where those are from that nobody wrote; "" */
	struct draft_port *ports;
	size_t n_ports, cap_ports;
	struct str *remarks;            /* comments: what was left out, and why */
	size_t n_remarks, cap_remarks;
};

/* "shop" → "shop.service"; a whole name stays. In the arena. */
struct str draft_unit_name(struct str word, struct arena *a);
/* "redis-server@x.service" → "redis-server@x": how its file is called. */
struct str draft_stem(struct str unit);

void draft_init(struct draft *d, struct str unit, struct arena *a);
/*
 * One statement: key "Label", "Annotation" (KEY=VALUE, several separated by blanks), "Port"
 * (NUMBER[:NAME][/PROTOCOL]), "Name", "Namespace", "ServiceAccount", "Address", "Sidecar". A later
 * one wins. A negative code with err filled: unknown key, unusable value.
 */
int draft_set(struct draft *d, struct str key, struct str value, struct err *err);
/* The X-KVMesh- lines of `systemctl cat`; %i %I %p %n %N %% stand for what systemd makes of them. */
int draft_read_unit(struct draft *d, struct str text, struct err *err);
/* Ports that nobody named, with the protocol guessed. */
void draft_add_listening(struct draft *d, const struct listening *v, size_t n);
/* Name, account and labels that nobody gave, by the unit's name: "my-app-v1" is version v1 of my-app. */
void draft_complete(struct draft *d);
struct str draft_text(const struct draft *d);
