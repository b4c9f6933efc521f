/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of config/convert: the forms that are written. That nothing is lost is proved over the
 * golden files.
 */
#include "config/convert.h"
#include "config_unit.h"

static struct arena a;
static struct err_list errs;

static struct str convert(const char *text, enum doc_syntax from, enum doc_syntax to, bool marks)
{
	struct convert_opts opts = { .to = to, .marks = marks, .pretty = false };
	struct doc_file f = { 0 };
	struct str out = STR_NULL;

	arena_init(&a, 0);
	err_list_init(&errs);
	if (doc_read_text(str_c(text), "in", from, &a, &f, &errs) == 0 &&
	    convert_file(&f, &opts, &a, &out, &errs) == 0)
		ck_assert_int_eq(convert_check(&f, &opts, &a, &errs), 0);
	return out;
}

static void done(void)
{
	arena_done(&a);
	err_list_done(&errs);
}

static void expect(const char *text, enum doc_syntax from, enum doc_syntax to, bool marks,
		   const char *want)
{
	unit_str_eq(convert(text, from, to, marks), want);
	ck_assert_uint_eq(errs.n, 0);
	done();
}

#define YAML_TWO                                                                                   \
	"apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: { name: a, "   \
	"namespace: prod }\nspec: { mtls: { mode: STRICT } }\n"                                    \
	"---\napiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: { name: " \
	"b }\n"

START_TEST(yaml_to_native)
{
	expect(YAML_TWO, DOC_SYNTAX_YAML, DOC_SYNTAX_NATIVE, true,
	       "PeerAuthentication = (\n"
	       "  # from in:1\n"
	       "  {\n    name = \"a\";\n    namespace = \"prod\";\n    mtls = { mode = \"STRICT\"; "
	       "};\n  },\n"
	       "  # from in:6\n"
	       "  {\n    name = \"b\";\n  }\n"
	       ");\n");
}
END_TEST

START_TEST(native_to_yaml)
{
	expect("PeerAuthentication = ( { name = \"a\"; namespace = \"prod\"; mtls = { mode = "
	       "\"STRICT\"; }; }, { name = \"b\"; } );",
	       DOC_SYNTAX_NATIVE, DOC_SYNTAX_YAML, true,
	       "# from in:1\napiVersion: security.istio.io/v1\nkind: "
	       "PeerAuthentication\nmetadata:\n  name: a\n  namespace: prod\nspec:\n  mtls:\n    "
	       "mode: STRICT\n"
	       "---\n# from in:1\napiVersion: security.istio.io/v1\nkind: "
	       "PeerAuthentication\nmetadata:\n  name: b\nspec: {}\n");
}
END_TEST

START_TEST(yaml_to_json)
{
	expect(YAML_TWO, DOC_SYNTAX_YAML, DOC_SYNTAX_JSON, false,
	       "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":["
	       "{\"apiVersion\":\"security.istio.io/"
	       "v1\",\"kind\":\"PeerAuthentication\",\"metadata\":{\"name\":\"a\",\"namespace\":"
	       "\"prod\"},\"spec\":{\"mtls\":{\"mode\":\"STRICT\"}}},"
	       "{\"apiVersion\":\"security.istio.io/"
	       "v1\",\"kind\":\"PeerAuthentication\",\"metadata\":{\"name\":\"b\"},\"spec\":{}}]}");
}
END_TEST

/* WorkloadEntry has labels in both places: the flat form cannot hold them. */
START_TEST(colliding_names_keep_istios_shape)
{
	struct str out =
		convert("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { "
			"name: a, labels: { x: '1' } }\n"
			"spec: { address: 10.0.0.1, labels: { y: '2' }, ports: { http: 80 } }\n",
			DOC_SYNTAX_YAML, DOC_SYNTAX_NATIVE, false);

	ck_assert_int_ge(str_find_str(out, STR("metadata = {")), 0);
	ck_assert_int_ge(str_find_str(out, STR("spec = {")), 0);
	done();
	out = convert(
		"apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: a }\n"
		"spec: { address: 10.0.0.1, labels: { y: '2' }, ports: { http: 80 } }\n",
		DOC_SYNTAX_YAML, DOC_SYNTAX_NATIVE, false);
	ck_assert_int_lt(str_find_str(out, STR("spec = {")), 0);
	ck_assert_int_ge(str_find_str(out, STR("ports = { http = 80; }")), 0);
	done();
}
END_TEST

START_TEST(text_stays_text)
{
	struct str out = convert("Workload = { name = \"w\"; user = \"u\"; labels = { version = "
				 "\"1.10\"; on = \"yes\"; n = \"0x10\"; }; };",
				 DOC_SYNTAX_NATIVE, DOC_SYNTAX_YAML, false);

	ck_assert_int_ge(str_find_str(out, STR("version: \"1.10\"")), 0);
	ck_assert_int_lt(str_find_str(out, STR("on: yes")), 0);
	done();
}
END_TEST

START_TEST(settings_have_a_native_form_only)
{
	struct str out =
		convert("node = { meshPort = 1; };\n", DOC_SYNTAX_NATIVE, DOC_SYNTAX_NATIVE, false);

	unit_str_eq(out, "node = {\n  meshPort = 1;\n};\n");
	done();
	convert("node = { meshPort = 1; };\n", DOC_SYNTAX_NATIVE, DOC_SYNTAX_YAML, false);
	ck_assert_uint_eq(config_count(&errs, "KVM0007"), 1);
	done();
}
END_TEST

START_TEST(wrong_input_is_told)
{
	convert("apiVersion: v1\nkind: Service\nmetadata: { name: a }\nspec: { prots: [] }\n",
		DOC_SYNTAX_YAML, DOC_SYNTAX_NATIVE, false);
	ck_assert_uint_eq(errs.n_errors, 1);
	ck_assert_ptr_nonnull(strstr(errs.v[0].text, "(did you mean 'ports'?)"));
	done();
	convert("apiVersion: v1\nkind: Servise\nmetadata: { name: a }\n", DOC_SYNTAX_YAML,
		DOC_SYNTAX_NATIVE, false);
	ck_assert_uint_eq(config_count(&errs, "KVM0003"), 1);
	done();
}
END_TEST

UNIT_MAIN("convert", yaml_to_native, native_to_yaml, yaml_to_json,
	  colliding_names_keep_istios_shape, text_stays_text, settings_have_a_native_form_only,
	  wrong_input_is_told)
