/* SPDX-License-Identifier: Apache-2.0 */
/* families: writer of the "Stats" reply, see families.h. Layer proxy. */
#include "config.h"

#include "base/err.h"
#include "proxy/families.h"

static const char *const kind_names[] = {
	[FAMILIES_COUNTER] = "counter",
	[FAMILIES_GAUGE] = "gauge",
	[FAMILIES_HISTOGRAM] = "histogram",
};

void families_init(struct families *f)
{
	*f = (struct families){ 0 };
	text_lit(&f->text, "{\"families\":[");
}

struct text *families_close(struct families *f)
{
	text_char(&f->text, ']');
	return &f->text;
}

struct str families_finish(struct families *f)
{
	text_char(&f->text, '}');
	return str_from(f->text.p, f->text.n);
}

void families_done(struct families *f)
{
	text_done(&f->text);
}

static void begin(struct families *f, const char *name, enum families_kind kind, const char *help,
		  struct families_labels labels)
{
	struct text *t = &f->text;

	if (f->any_family)
		text_char(t, ',');
	f->any_family = true;
	f->any_row = false;
	text_lit(t, "{\"name\":");
	text_json(t, str_c(name));
	text_lit(t, ",\"type\":");
	text_json(t, str_c(kind_names[kind]));
	text_lit(t, ",\"help\":");
	text_json(t, str_c(help));
	text_lit(t, ",\"labels\":[");
	for (size_t i = 0; i < labels.n; i++) {
		if (i > 0)
			text_char(t, ',');
		text_json(t, str_c(labels.v[i]));
	}
	f->n_labels = labels.n;
	text_char(t, ']');
}

void families_begin(struct families *f, const char *name, enum families_kind kind, const char *help,
		    struct families_labels labels)
{
	kv_assert(kind != FAMILIES_HISTOGRAM);
	begin(f, name, kind, help, labels);
	text_lit(&f->text, ",\"series\":[");
}

void families_begin_histogram(struct families *f, const char *name, const char *help,
			      struct families_labels labels, const double *bounds, size_t n_bounds)
{
	begin(f, name, FAMILIES_HISTOGRAM, help, labels);
	text_lit(&f->text, ",\"bounds\":[");
	for (size_t i = 0; i < n_bounds; i++) {
		if (i > 0)
			text_char(&f->text, ',');
		text_real(&f->text, bounds[i]);
	}
	text_lit(&f->text, "],\"series\":[");
}

void families_render(struct text *t, const struct str *values, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		text_json(t, values[i]);
		text_char(t, ',');
	}
}

static void row_open(struct families *f)
{
	if (f->any_row)
		text_char(&f->text, ',');
	f->any_row = true;
	text_char(&f->text, '[');
}

static void row_open_with(struct families *f, const struct str *values)
{
	row_open(f);
	families_render(&f->text, values, f->n_labels);
}

static void row_close_int(struct families *f, int64_t v)
{
	text_i64(&f->text, v);
	text_char(&f->text, ']');
}

static void row_close_histogram(struct families *f, const uint64_t *counts, size_t n_counts,
				double sum)
{
	struct text *t = &f->text;
	uint64_t total = 0;

	text_lit(t, "{\"buckets\":[");
	for (size_t i = 0; i < n_counts; i++) {
		if (i > 0)
			text_char(t, ',');
		total += counts[i];
		text_u64(t, total);
	}
	text_lit(t, "],\"sum\":");
	text_real(t, sum);
	text_lit(t, ",\"count\":");
	text_u64(t, total);
	text_lit(t, "}]");
}

void families_row_int(struct families *f, const struct str *values, int64_t v)
{
	row_open_with(f, values);
	row_close_int(f, v);
}

void families_row_real(struct families *f, const struct str *values, double v)
{
	row_open_with(f, values);
	text_real(&f->text, v);
	text_char(&f->text, ']');
}

void families_row_histogram(struct families *f, const struct str *values, const uint64_t *counts,
			    size_t n_counts, double sum)
{
	row_open_with(f, values);
	row_close_histogram(f, counts, n_counts, sum);
}

void families_raw_int(struct families *f, struct str rendered, int64_t v)
{
	row_open(f);
	text_add(&f->text, rendered);
	row_close_int(f, v);
}

void families_raw_histogram(struct families *f, struct str rendered, const uint64_t *counts,
			    size_t n_counts, double sum)
{
	row_open(f);
	text_add(&f->text, rendered);
	row_close_histogram(f, counts, n_counts, sum);
}

void families_end(struct families *f)
{
	text_lit(&f->text, "]}");
}
