/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compliance verify: is a report what was made, who vouches for it, and is the past that it stands on
 * still the same? Layer daemons/ctl.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "ctl/compliance_sign.h"
#include "ctl/ctl.h"

#define REPORT_BYTES_MAX (64u << 20)
#define BLOCK_BYTES_MAX (256u << 10)

static int read_file(struct ctl *c, const char *path, size_t max, struct str *ret, struct err *err)
{
	char *p;
	size_t n;
	int r = fs_read(path, max, &p, &n, err);

	if (r < 0)
		return r;
	*ret = arena_str(&c->arena, str_from(p, n));
	free(p);
	return 0;
}

static int parse(struct ctl *c, struct compliance_signed *ret)
{
	struct str file, block = STR("");
	struct err err = { 0 };

	if (read_file(c, c->words[0], REPORT_BYTES_MAX, &file, &err) < 0)
		return ctl_fail_err(&err);
	int r = read_file(c, arena_printf(&c->arena, "%s.sig", c->words[0]).p, BLOCK_BYTES_MAX, &block,
			  &err);

	if (r < 0 && r != -ENOENT)
		return ctl_fail_err(&err);
	switch (compliance_sign_parse(file, block, &c->arena, ret)) {
	case COMPLIANCE_FORM_NONE:
		return ctl_fail(CTL_EXIT_DATA, "%s is no report, or carries neither digest nor "
				"signature: kvmeshctl compliance report --format json or --sign "
				"makes one", c->words[0]);
	case COMPLIANCE_FORM_CHANGED:
		return ctl_fail(CTL_EXIT_NO, "%s was changed after it was made",
				c->words[0]);
	case COMPLIANCE_FORM_OK:
		break;
	}
	fprintf(c->out, "unchanged: sha256 %.*s\n", STR_ARG(ret->claimed));
	return CTL_EXIT_OK;
}

/* ---- who signed it ------------------------------------------------------------------------- */

static int find_anchors(struct ctl *c, const char **ret_where, struct str *ret)
{
	const char *path = ctl_value(c, "ca-file", NULL);
	struct err err = { 0 };
	struct doc *roots;

	*ret_where = path ? path : "the CA of this node";
	if (path)
		return read_file(c, path, BLOCK_BYTES_MAX, ret, &err) < 0 ? ctl_fail_err(&err)
									  : CTL_EXIT_OK;
	if (ctl_call(c, ctl_sock(c, "ca", "ca"), "Roots", NULL, &roots, &err) < 0)
		return ctl_fail(CTL_EXIT_UNAVAILABLE, "whom to trust? No CA answers here (%s): --ca-file "
				"FILE brings its root", err.text);
	*ret = doc_get_str(roots, "bundle", STR(""));
	return CTL_EXIT_OK;
}

static int check_signer(struct ctl *c, const struct compliance_signed *s)
{
	struct str anchors = STR("");
	struct err err = { 0 };
	char when[CLOCK_RFC3339_MAX];
	const char *where;

	/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Branch): read before, or its error was told */
	if (!s->is_signed) {
		if (ctl_has(c, "ca-file"))
			return ctl_fail(CTL_EXIT_NO, "%s is not signed", c->words[0]);
		fputs("not signed: whoever changed it could have given it this digest\n", c->out);
		return CTL_EXIT_OK;
	}
	int code = find_anchors(c, &where, &anchors);

	if (code != CTL_EXIT_OK)
		return code;
	int r = tls_statement_verify(&s->st, anchors, &err);

	if (r == KV_ERR_SCHEMA)
		return ctl_fail(CTL_EXIT_DATA, "%s: %s", where, err.text);
	if (r < 0)
		return ctl_fail(CTL_EXIT_NO, "%s: %s", c->words[0], err.text);
	fprintf(c->out, "signed by %.*s at %s, trusted by %s\n", STR_ARG(s->st.signed_by),
		clock_rfc3339(s->st.signed_at_us, when), where);
	return CTL_EXIT_OK;
}

/* ---- the past that it stands on ------------------------------------------------------------ */

static bool has_seal(const struct doc *seals, struct str seal)
{
	for (size_t i = 0; seals && i < seals->n; i++)
		if (str_eq(doc_get_str(seals->v[i], "seal", STR("")), seal))
			return true;
	return false;
}

static bool is_before_all(const struct doc *report, const struct doc *seals)
{
	int64_t until;

	return seals && seals->n > 0 &&
	       ctl_time_parse(doc_get_str(doc_get(report, STR("period")), "until", STR("")), &until) &&
	       until / 86400000000 < doc_get_int(seals->v[0], "day", 0);
}

/* An auditor's desk has no collector: what cannot be asked is said. */
static int check_seals(struct ctl *c, const struct doc *report)
{
	struct str seal = doc_get_str(doc_get(report, STR("evidence")), "seal", STR(""));
	struct err err = { 0 };
	struct doc *d;

	if (!report || seal.n == 0) {
		fputs(report ? "seals: no day was sealed yet\n"
			     : "seals: not looked at, JSON alone carries one\n", c->out);
		return CTL_EXIT_OK;
	}
	if (ctl_call(c, ctl_sock(c, "metrics", "metrics"), "Seals", NULL, &d, &err) < 0) {
		fputs("seals: not looked at, no collector answers here\n", c->out);
		return CTL_EXIT_OK;
	}
	if (doc_get(d, STR("brokenDay"))) {
		char when[CLOCK_RFC3339_MAX];

		clock_rfc3339(doc_get_int(d, "brokenDay", 0) * 86400000000, when);
		return ctl_fail(CTL_EXIT_NO, "the evidence of %.10s was changed after it was sealed", when);
	}
	if (is_before_all(report, doc_get(d, STR("seals")))) {
		fputs("seals: not looked at, the report is older than what is kept\n", c->out);
		return CTL_EXIT_OK;
	}
	if (!has_seal(doc_get(d, STR("seals")), seal))
		return ctl_fail(CTL_EXIT_NO, "the seal of the report is none of this node's: its chain was "
				"made anew, or the report is another node's");
	fputs("seals: the report's is in the chain, and the chain holds\n", c->out);
	return CTL_EXIT_OK;
}

int cmd_compliance_verify(struct ctl *c)
{
	struct compliance_signed s;
	int code = parse(c, &s);

	if (code == CTL_EXIT_OK)
		code = check_signer(c, &s);
	return code == CTL_EXIT_OK ? check_seals(c, s.report) : code;
}
