/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rotation: the steps and their files, see rotation.h. Layer daemons/ca. Owns STATE/ca/rotation.json;
 * it is written before the files of a step are touched.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "ca/files.h"
#include "ca/mint.h"
#include "ca/rotation.h"
#include "doc/doc.h"

#define STATE_FILE_MAX 4096u

const char *const rotation_kind_names[ROTATION_KIND__N] = { "issuer", "root", "files" };
const char *const rotation_step_names[ROTATION_STEP__N] = {
	"idle", "prepare", "distribute", "switch", "renew", "retire",
};

/* ---- the state file ------------------------------------------------------------------------ */

static int save(const struct files *f, const struct rotation *r, struct err *err)
{
	struct arena a;

	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a);

	doc_set_str(&a, d, "kind", str_c(rotation_kind_names[r->kind]));
	doc_set_str(&a, d, "step", str_c(rotation_step_names[r->step]));
	doc_set_bool(&a, d, "automatic", r->automatic);
	doc_set_int(&a, d, "startedAt", r->started_s);
	doc_set_int(&a, d, "stepAt", r->step_s);
	doc_set_int(&a, d, "switchedAt", r->switched_s);
	struct str json = doc_to_json(d, &a, false);
	int code = fs_write(f->path[FILE_ROTATION], json.p, json.n, 0600, err);

	arena_done(&a);
	return code;
}

static int enter(const struct files *f, struct rotation *r, enum rotation_step step, int64_t now_s,
		 struct err *err)
{
	struct rotation next = *r;

	next.step = step;
	next.step_s = now_s;
	int code = save(f, &next, err);

	if (code < 0)
		return code;
	*r = next;
	log_info("rotation (%s): %s", rotation_kind_names[r->kind], rotation_step_names[step]);
	return 0;
}

static int index_of(const char *const *names, int n, struct str name)
{
	for (int i = 0; i < n; i++)
		if (str_eq(str_c(names[i]), name))
			return i;
	return -1;
}

static bool parse(struct str text, struct rotation *ret)
{
	struct arena a;
	struct doc *d;
	struct err ignored;

	arena_init(&a, 0);
	bool ok = doc_read_json(text, &a, &d, &ignored) == 0;

	if (ok) {
		int kind = index_of(rotation_kind_names, ROTATION_KIND__N,
				    doc_get_str(d, "kind", STR("")));
		int step = index_of(rotation_step_names, ROTATION_STEP__N,
				    doc_get_str(d, "step", STR("")));

		ok = kind >= 0 && step >= 0;
		if (ok)
			*ret = (struct rotation){
				.kind = (enum rotation_kind)kind,
				.step = (enum rotation_step)step,
				.automatic = doc_get_bool(d, "automatic", false),
				.started_s = doc_get_int(d, "startedAt", 0),
				.step_s = doc_get_int(d, "stepAt", 0),
				.switched_s = doc_get_int(d, "switchedAt", 0),
			};
	}
	arena_done(&a);
	return ok;
}

/* The next key alone: the leftover of a move, or the first thing that PREPARE makes? */
static bool is_next_key_of_issuer(const struct files *f)
{
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	_cleanup_x509_ X509 *issuer = NULL;
	struct err ignored;
	bool is = files_read_key(f, FILE_NEXT_KEY, &key, &ignored) == 0 &&
		  files_read_cert(f, FILE_CA_CERT, &issuer, &ignored) == 0 &&
		  X509_check_private_key(issuer, key) == 1;

	ERR_clear_error();
	return is;
}

/* What the files say by themselves. */
static void guess(const struct files *f, struct rotation *ret)
{
	bool key = files_has(f, FILE_NEXT_KEY), cert = files_has(f, FILE_NEXT_CERT);

	*ret = (struct rotation){
		.kind = files_has(f, FILE_NEXT_ROOT_CERT) ? ROTATION_ROOT : ROTATION_ISSUER,
		.automatic = true,
	};
	if (key && cert)
		ret->step = ROTATION_DISTRIBUTE;
	else if (cert || (key && is_next_key_of_issuer(f)))
		ret->step = ROTATION_SWITCH;
	else if (files_has(f, FILE_OLD_CERT))
		ret->step = ROTATION_RENEW;
	if (ret->step != ROTATION_IDLE)
		ret->started_s = ret->step_s = clock_real_us() / 1000000;
	if (ret->step == ROTATION_RENEW)
		ret->switched_s = ret->step_s;
}

int rotation_load(const struct files *f, struct rotation *ret, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t n = 0;
	int r = fs_read(f->path[FILE_ROTATION], STATE_FILE_MAX, &text, &n, err);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && parse(str_from(text, n), ret))
		return 0;
	if (r == 0)
		log_warn("%s is damaged: the files tell how far the rotation is",
			 f->path[FILE_ROTATION]);
	guess(f, ret);
	return 0;
}

/* ---- the files of a step ------------------------------------------------------------------- */


static int move_if(const struct files *f, enum file from, enum file to, struct err *err)
{
	return files_has(f, from) ? files_move(f, from, to, err) : 0;
}

/* Everything that was trusted and will not sign any more, the issuer first. */
static int keep_old(const struct files *f, const struct rotation *r, struct err *err)
{
	static const enum file own[] = { FILE_CA_CERT, FILE_ROOT_CERT, FILE_OLD_CERT };
	static const enum file replaced[] = { FILE_IN_USE, FILE_OLD_CERT };

	return r->kind == ROTATION_FILES ? files_join_certs(f, replaced, 2, FILE_OLD_CERT, err)
					 : files_join_certs(f, own, 3, FILE_OLD_CERT, err);
}

/* A root without a key came from outside: the key of the root before must go all the same. */
static int change_roots(const struct files *f, struct err *err)
{
	int code = 0;

	if (files_has(f, FILE_NEXT_ROOT_KEY))
		code = files_move(f, FILE_NEXT_ROOT_KEY, FILE_ROOT_KEY, err);
	else if (files_has(f, FILE_NEXT_ROOT_CERT))
		code = files_remove(f, FILE_ROOT_KEY, err);
	return code < 0 ? code : move_if(f, FILE_NEXT_ROOT_CERT, FILE_ROOT_CERT, err);
}

/*
 * The next issuer's certificate moves last: as long as it has its old name nothing of the one before
 * is lost.
 */
static int change_places(const struct files *f, const struct rotation *r, struct err *err)
{
	int code = 0;

	if (files_has(f, FILE_NEXT_CERT))
		code = keep_old(f, r, err);
	if (code == 0 && r->kind == ROTATION_ROOT)
		code = change_roots(f, err);
	if (code == 0)
		code = move_if(f, FILE_NEXT_KEY, FILE_CA_KEY, err);
	return code < 0 ? code : move_if(f, FILE_NEXT_CERT, FILE_CA_CERT, err);
}

static int do_switch(const struct files *f, int64_t now_s, struct rotation *r, struct err *err)
{
	int code = r->kind == ROTATION_FILES ? keep_old(f, r, err) : change_places(f, r, err);

	if (code == 0)
		code = files_remove(f, FILE_IN_USE, err);       /* what is there now comes into use */
	if (code < 0)
		return code;
	r->switched_s = now_s;
	return enter(f, r, ROTATION_RENEW, now_s, err);
}

/* Certificates first: a key alone is no rotation. */
int rotation_clear(const struct files *f, struct err *err)
{
	static const enum file next[] = { FILE_NEXT_CERT, FILE_NEXT_ROOT_CERT, FILE_NEXT_KEY,
					  FILE_NEXT_ROOT_KEY };
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(next) / sizeof(next[0]); i++)
		r = files_remove(f, next[i], err);
	return r;
}

/* ---- steps --------------------------------------------------------------------------------- */

int rotation_begin(const struct files *f, const struct mint *m, const struct rotation_plan *plan,
		   struct rotation *r, struct err *err)
{
	struct rotation next = {
		.kind = plan->kind,
		.automatic = plan->automatic,
		.started_s = plan->now_s,
	};
	int code = 0;

	if (m)
		code = rotation_clear(f, err);
	if (code == 0 && m)
		code = enter(f, &next, ROTATION_PREPARE, plan->now_s, err);
	if (code == 0 && m) {
		code = mint_next(f, m, plan->kind == ROTATION_ROOT, err);
		if (code < 0) {
			struct err ignored;

			(void)rotation_abort(f, &next, &ignored);
		}
	}
	if (code == 0)
		code = enter(f, &next, ROTATION_DISTRIBUTE, plan->now_s, err);
	if (code == 0)
		*r = next;
	return code;
}

int rotation_resume(const struct files *f, const struct mint *m, int64_t now_s, struct rotation *r,
		    struct err *err)
{
	int code;

	switch (r->step) {
	case ROTATION_PREPARE:
		if (!m)
			return 0;
		code = mint_next(f, m, r->kind == ROTATION_ROOT, err);
		return code < 0 ? code : enter(f, r, ROTATION_DISTRIBUTE, now_s, err);
	case ROTATION_SWITCH:
		return do_switch(f, now_s, r, err);
	case ROTATION_RETIRE:
		return files_remove(f, FILE_OLD_CERT, err);
	case ROTATION_IDLE:
	case ROTATION_DISTRIBUTE:
	case ROTATION_RENEW:
	case ROTATION_STEP__N:
		break;
	}
	return 0;
}

int rotation_switch(const struct files *f, int64_t now_s, struct rotation *r, struct err *err)
{
	int code = enter(f, r, ROTATION_SWITCH, now_s, err);

	return code < 0 ? code : do_switch(f, now_s, r, err);
}

int rotation_retire(const struct files *f, int64_t now_s, struct rotation *r, struct err *err)
{
	int code = enter(f, r, ROTATION_RETIRE, now_s, err);

	return code < 0 ? code : files_remove(f, FILE_OLD_CERT, err);
}

int rotation_finish(const struct files *f, struct rotation *r, struct err *err)
{
	int code = files_remove(f, FILE_ROTATION, err);

	if (code < 0)
		return code;
	log_info("rotation (%s): done", rotation_kind_names[r->kind]);
	*r = (struct rotation){ 0 };
	return 0;
}

int rotation_abort(const struct files *f, struct rotation *r, struct err *err)
{
	int code = files_remove(f, FILE_ROTATION, err);

	if (code == 0)
		code = rotation_clear(f, err);
	if (code < 0)
		return code;
	log_info("rotation (%s): given up", rotation_kind_names[r->kind]);
	*r = (struct rotation){ 0 };
	return 0;
}
