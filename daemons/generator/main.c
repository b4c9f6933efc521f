/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmesh-generator: asked by systemd at boot and at each daemon-reload, it writes the drop-ins of
 * injected units (config/inject.h) below the directory that it is given. Layer daemons/generator.
 * They live under /run alone: what the configuration no longer asks for is gone with the next
 * reload. It runs before anything else of the system and must never be in its way: it talks to
 * nobody, and what is wrong with a file is told and left out.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "config/inject.h"
#include "config/load.h"

#define EXIT_USAGE 64
#define FINDINGS_TOLD 10

static int usage(FILE *out, int code)
{
	fputs("kvmesh-generator [--etc DIR] DIR [EARLY-DIR LATE-DIR]\n"
	      "Write drop-ins for injected units below DIR; run by systemd, see "
	      "systemd.generator(7).\n"
	      "  -V, --version   print the version\n"
	      "  -h, --help      print this\n",
	      out);
	return code;
}

static void tell(const struct err_list *errs)
{
	size_t told = 0;

	for (size_t i = 0; i < errs->n && told < FINDINGS_TOLD; i++)
		if (errs->v[i].level == ERR_LEVEL_ERROR && ++told)
			log_warn("left out: %s:%u: %s", errs->v[i].file, (unsigned)errs->v[i].line,
				 errs->v[i].text);
	if (errs->n_errors > told)
		log_warn("and %zu findings more; 'kvmeshctl config test' tells them",
			 errs->n_errors - told);
}

static bool write_dropin(const char *to, const struct inject_dropin *d)
{
	_cleanup_free_ char *dir = kv_asprintf("%s/%.*s.d", to, STR_ARG(d->unit));
	_cleanup_free_ char *path = kv_asprintf("%s/%s", dir, INJECT_DROPIN_NAME);
	struct err err;

	if (fs_mkdir(dir, 0755, &err) == 0 && fs_write(path, d->text.p, d->text.n, 0644, &err) == 0)
		return true;
	log_err("%s", err.text);
	return false;
}

static int generate(const char *etc, const char *to)
{
	struct inject_dropin *v;
	struct err_list errs;
	struct model *m;
	struct arena a;
	size_t n;
	int code = EXIT_SUCCESS;

	err_list_init(&errs);
	arena_init(&a, 0);
	/* With errors the model holds what could be read: good enough to order units by. */
	(void)model_load_dir(etc, NULL, &m, &errs);
	tell(&errs);
	inject_dropins(m, &a, &v, &n);
	for (size_t i = 0; i < n; i++)
		if (!write_dropin(to, &v[i]))
			code = EXIT_FAILURE;
	model_free(m);
	arena_done(&a);
	err_list_done(&errs);
	return code;
}

int main(int argc, char **argv)
{
	const char *etc = getenv("KVMESH_ETC");
	int at = 1;

	log_init("kvmesh-generator");
	if (argc > 2 && strcmp(argv[1], "--etc") == 0) {
		etc = argv[2];
		at = 3;
	}
	if (argc == 2 && (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)) {
		puts("kvmesh-generator " PACKAGE_VERSION);
		return EXIT_SUCCESS;
	}
	if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
		return usage(stdout, EXIT_SUCCESS);
	if ((argc - at != 1 && argc - at != 3) || argv[at][0] == '-')
		return usage(stderr, EXIT_USAGE);
	etc = etc ? etc : SYSCONFDIR "/kvmesh";
	return access(etc, F_OK) == 0 ? generate(etc, argv[at]) : EXIT_SUCCESS;
}
