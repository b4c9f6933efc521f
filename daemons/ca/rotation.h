/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rotation: the change of the issuing certificate, or of the root with it, as a transaction whose
 * step is on disk before it is taken. Layer daemons/ca, above mint, below keystore. Every step can
 * be done again: a CA that was killed in the middle of one goes on with it when it starts.
 *
 *   PREPARE     the next key and certificates are made
 *   DISTRIBUTE  they are in the trust bundle and do not sign; who verifies must have the bundle first
 *   SWITCH      the files change places
 *   RENEW       the next issuer signs, the one before is still trusted: whom it certified must have
 *               a new certificate first
 *   RETIRE      the one before has left the bundle; everybody must have heard
 *
 * Who has heard is not known here (acks.h); authority.c decides when a step is over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct files;                   /* ca/files.h */
struct mint;                    /* ca/mint.h */

enum rotation_kind {
	ROTATION_ISSUER,        /* same root */
	ROTATION_ROOT,
	ROTATION_FILES,         /* somebody put other files into ETC/ca, or took them away */
	ROTATION_KIND__N
};
enum rotation_step {
	ROTATION_IDLE,
	ROTATION_PREPARE,
	ROTATION_DISTRIBUTE,
	ROTATION_SWITCH,
	ROTATION_RENEW,
	ROTATION_RETIRE,
	ROTATION_STEP__N
};
extern const char *const rotation_kind_names[ROTATION_KIND__N];
extern const char *const rotation_step_names[ROTATION_STEP__N];

struct rotation {
	enum rotation_kind kind;
	enum rotation_step step;
	bool automatic;                 /* because the issuer ends: it must not wait for ever */
	int64_t started_s, step_s;      /* since 1970; step_s: when the present step began */
	int64_t switched_s;             /* since then the next issuer signs; 0 not yet */
};

/*
 * What is under way by the state file. Without one: by the files of an earlier version, which knew
 * none.
 */
int rotation_load(const struct files *f, struct rotation *ret, struct err *err);
/*
 * After a start: whatever the present step may have left undone. mint NULL: the router's list is
 * not known, nothing can be made yet.
 */
int rotation_resume(const struct files *f, const struct mint *m, int64_t now_s, struct rotation *r,
		    struct err *err);

/* From IDLE to DISTRIBUTE; m: the next ones are made. NULL: they are there, from somebody else. */
struct rotation_plan {
	enum rotation_kind kind;
	bool automatic;
	int64_t now_s;
};
int rotation_begin(const struct files *f, const struct mint *m, const struct rotation_plan *plan,
		   struct rotation *r, struct err *err);
/* From DISTRIBUTE to RENEW. */
int rotation_switch(const struct files *f, int64_t now_s, struct rotation *r, struct err *err);
/* From RENEW to RETIRE. */
int rotation_retire(const struct files *f, int64_t now_s, struct rotation *r, struct err *err);
/* From RETIRE to IDLE. */
int rotation_finish(const struct files *f, struct rotation *r, struct err *err);
/* From PREPARE or DISTRIBUTE back to IDLE: the next ones are thrown away. */
int rotation_abort(const struct files *f, struct rotation *r, struct err *err);
/* Next ones that nobody waits for: of a rotation that was given up when the CA was killed. */
int rotation_clear(const struct files *f, struct err *err);
