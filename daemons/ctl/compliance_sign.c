/* SPDX-License-Identifier: Apache-2.0 */
/* compliance_sign: see compliance_sign.h. Layer daemons/ctl. */
#include "config.h"

#include "base/clock.h"
#include "ctl/compliance_sign.h"
#include "ctl/ctl.h"
#include "io/tls_digest.h"

#define BEGIN "-----BEGIN KVMESH SIGNATURE-----\n"
#define END "-----END KVMESH SIGNATURE-----\n"
#define CERTIFICATE_END "-----END CERTIFICATE-----\n"

struct str compliance_sign_digest(struct str body, struct arena *a)
{
	struct tls_digest *d = tls_digest_new();
	char hex[TLS_DIGEST_HEX_MAX];

	tls_digest_add(d, body);
	tls_digest_end(d, hex);
	return arena_str(a, str_c(hex));
}

/* ---- JSON ---------------------------------------------------------------------------------- */

bool compliance_sign_read(const struct doc *d, struct str sha256, struct tls_statement *ret)
{
	*ret = (struct tls_statement){
		.sha256 = sha256,
		.signed_by = doc_get_str(d, "signedBy", STR("")),
		.certificate = doc_get_str(d, "certificate", STR("")),
		.chain = doc_get_str(d, "chain", STR("")),
		.signature = doc_get_str(d, "signature", STR("")),
	};
	return ctl_time_parse(doc_get_str(d, "signedAt", STR("")), &ret->signed_at_us);
}

struct str compliance_sign_json(struct doc *report, struct str sha256, const struct tls_statement *st,
				struct arena *a)
{
	struct doc *d = doc_new_map(a);
	char when[CLOCK_RFC3339_MAX];

	doc_set(a, d, "report", report);
	doc_set_str(a, d, "sha256", sha256);
	if (st) {
		struct doc *s = doc_set(a, d, "signature", doc_new_map(a));

		doc_set_str(a, s, "signedAt",
			    arena_str(a, str_c(clock_rfc3339(st->signed_at_us, when))));
		doc_set_str(a, s, "signedBy", st->signed_by);
		doc_set_str(a, s, "signature", st->signature);
		doc_set_str(a, s, "certificate", st->certificate);
		doc_set_str(a, s, "chain", st->chain);
	}
	return arena_printf(a, "%.*s\n", STR_ARG(doc_to_json(d, a, true)));
}

static enum compliance_form parse_json(struct str file, struct arena *a, struct compliance_signed *ret)
{
	struct err ignored;
	struct doc *d;

	if (doc_read_json(file, a, &d, &ignored) < 0 || d->kind != DOC_MAP)
		return COMPLIANCE_FORM_NONE;
	struct doc *report = doc_get(d, STR("report")), *signature = doc_get(d, STR("signature"));

	ret->claimed = doc_get_str(d, "sha256", STR(""));
	if (!report || report->kind != DOC_MAP || ret->claimed.n == 0)
		return COMPLIANCE_FORM_NONE;
	ret->report = report;
	ret->body = doc_to_json(report, a, false);
	ret->is_signed = signature != NULL;
	if (signature && !compliance_sign_read(signature, ret->claimed, &ret->st))
		return COMPLIANCE_FORM_CHANGED;
	struct str again = compliance_sign_json(report, ret->claimed,
						ret->is_signed ? &ret->st : NULL, a);

	return str_eq(again, file) ? COMPLIANCE_FORM_OK : COMPLIANCE_FORM_CHANGED;
}

/* ---- the block ----------------------------------------------------------------------------- */

struct str compliance_sign_block(const struct tls_statement *st, bool html, struct arena *a)
{
	char when[CLOCK_RFC3339_MAX];

	return arena_printf(a,
			    "%s" BEGIN "sha256: %.*s\nsigned at: %s\nsigned by: %.*s\nsignature: %.*s\n"
			    "%.*s%.*s" END "%s",
			    html ? "<!--\n" : "", STR_ARG(st->sha256),
			    clock_rfc3339(st->signed_at_us, when), STR_ARG(st->signed_by),
			    STR_ARG(st->signature), STR_ARG(st->certificate), STR_ARG(st->chain),
			    html ? "-->\n" : "");
}

/* "NAME: VALUE" and its end are taken from *s. */
static bool take_line(struct str *s, struct str name, struct str *ret)
{
	ptrdiff_t end = str_find(*s, '\n');

	if (end < 0 || !str_has_prefix(*s, name))
		return false;
	*ret = str_from(s->p + name.n, (size_t)end - name.n);
	*s = str_skip(*s, (size_t)end + 1);
	return true;
}

static bool read_block(struct str s, struct tls_statement *ret)
{
	struct str when;

	if (!str_has_prefix(s, STR(BEGIN)))
		return false;
	s = str_skip(s, sizeof(BEGIN) - 1);
	if (!take_line(&s, STR("sha256: "), &ret->sha256) ||
	    !take_line(&s, STR("signed at: "), &when) ||
	    !ctl_time_parse(when, &ret->signed_at_us) ||
	    !take_line(&s, STR("signed by: "), &ret->signed_by) ||
	    !take_line(&s, STR("signature: "), &ret->signature))
		return false;
	ptrdiff_t leaf = str_find_str(s, STR(CERTIFICATE_END)), end = str_find_str(s, STR(END));

	if (leaf < 0 || end < 0 || leaf > end)
		return false;
	size_t n = (size_t)leaf + sizeof(CERTIFICATE_END) - 1;

	ret->certificate = str_take(s, n);
	ret->chain = str_from(s.p + n, (size_t)end - n);
	return true;
}

/* Where the last block of the file begins. */
static ptrdiff_t find_block(struct str file)
{
	const struct str begin = STR(BEGIN);

	for (size_t i = file.n; i-- > 0;)
		if (file.p[i] == begin.p[0] && str_has_prefix(str_skip(file, i), begin))
			return (ptrdiff_t)i;
	return -1;
}

static enum compliance_form parse_embedded(struct str file, size_t at, struct arena *a,
					   struct compliance_signed *ret)
{
	if (!read_block(str_skip(file, at), &ret->st))
		return COMPLIANCE_FORM_CHANGED;
	struct str tail = compliance_sign_block(&ret->st, false, a);

	if (!str_has_suffix(file, tail))
		tail = compliance_sign_block(&ret->st, true, a);
	if (!str_has_suffix(file, tail))
		return COMPLIANCE_FORM_CHANGED;
	ret->body = str_take(file, file.n - tail.n);
	return COMPLIANCE_FORM_OK;
}

static enum compliance_form find_form(struct str file, struct str block, struct arena *a,
				      struct compliance_signed *ret)
{
	enum compliance_form form = COMPLIANCE_FORM_NONE;
	ptrdiff_t at;

	if (str_has_prefix(file, STR("{")))
		return parse_json(file, a, ret);
	if (block.n > 0) {
		ret->body = file;
		form = read_block(block, &ret->st) &&
				       str_eq(block, compliance_sign_block(&ret->st, false, a))
			       ? COMPLIANCE_FORM_OK
			       : COMPLIANCE_FORM_CHANGED;
	} else if ((at = find_block(file)) >= 0) {
		form = parse_embedded(file, (size_t)at, a, ret);
	}
	ret->is_signed = form == COMPLIANCE_FORM_OK;
	ret->claimed = ret->st.sha256;
	return form;
}

enum compliance_form compliance_sign_parse(struct str file, struct str block, struct arena *a,
					   struct compliance_signed *ret)
{
	*ret = (struct compliance_signed){ 0 };
	enum compliance_form form = find_form(file, block, a, ret);

	if (form == COMPLIANCE_FORM_OK && !str_eq(compliance_sign_digest(ret->body, a), ret->claimed))
		form = COMPLIANCE_FORM_CHANGED;
	return form;
}
