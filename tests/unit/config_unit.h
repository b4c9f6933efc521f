/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_unit: what the tests of layer config share: a model from text, findings as text. Layer
 * test.
 */
#pragma once

#include <string.h>

#include "config/check.h"
#include "config/load.h"
#include "unit.h"

/* Two services, three workloads and whatever the test adds. */
#define CONFIG_BASE                                                                                \
	"Service = ( { name = \"web\"; selector = { app = \"web\"; }; ports = ( { name = "         \
	"\"http\"; port = 80; targetPort = 8001; } ); },"                                          \
	"  { name = \"db\"; namespace = \"data\"; selector = { app = \"db\"; };"                   \
	"    ports = ( { name = \"tcp\"; port = 5432; targetPort = \"pg\"; }, { name = \"http\"; " \
	"port = 81; } ); } );\n"                                                                   \
	"Workload = ( { name = \"web-1\"; unit = \"web@1.service\"; labels = { app = \"web\"; "    \
	"version = \"v1\"; }; ports = ( { number = 8001; } ); },"                                  \
	"  { name = \"web-2\"; unit = \"web-2.service\"; labels = { app = \"web\"; version = "     \
	"\"v2\"; }; ports = ( { number = 8002; } ); weight = 3; },"                                \
	"  { name = \"db\"; namespace = \"data\"; user = \"postgres\"; labels = { app = \"db\"; "  \
	"}; address = \"127.0.0.2\";"                                                              \
	"    ports = ( { name = \"pg\"; number = 5433; }, { name = \"web\"; number = 81; } ); } "  \
	");\n"

static inline struct model *config_load(const char *text, enum doc_syntax syntax,
					struct err_list *errs)
{
	struct model *m;

	model_load_text(str_c(text), "test", syntax, NULL, &m, errs);
	return m;
}

/* A model that must load; the caller frees it. */
static inline struct model *config_model(const char *text)
{
	struct err_list errs;
	struct model *m;

	err_list_init(&errs);
	m = config_load(text, DOC_SYNTAX_NATIVE, &errs);
	ck_assert_msg(errs.n == 0, "%u: %s", errs.n > 0 ? errs.v[0].line : 0,
		      errs.n > 0 ? errs.v[0].text : "");
	err_list_done(&errs);
	return m;
}

/* Number of findings of a rule. */
static inline size_t config_count(const struct err_list *errs, const char *rule)
{
	size_t n = 0;

	for (size_t i = 0; i < errs->n; i++)
		n += strcmp(errs->v[i].rule, rule) == 0;
	return n;
}
