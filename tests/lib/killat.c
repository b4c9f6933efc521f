/* SPDX-License-Identifier: Apache-2.0 */
/*
 * killat: preloaded into a daemon under test, ends it by SIGKILL in front of its Nth change of a file's
 * name: rename, unlink. Test code only. $KILLAT names a file with N; a missing file: never. The file
 * is read anew at every change, so that a test can let the daemon start in peace; what has been
 * counted is written to $KILLAT.seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int seen;

static void count(void)
{
	const char *plan = getenv("KILLAT");
	char name[4096];
	int n = 0;
	FILE *f = plan ? fopen(plan, "r") : NULL;

	if (!f)
		return;
	if (fscanf(f, "%d", &n) != 1)
		n = 0;
	fclose(f);
	seen++;
	snprintf(name, sizeof(name), "%s.seen", plan);
	f = fopen(name, "w");
	if (f) {
		fprintf(f, "%d\n", seen);
		fclose(f);
	}
	if (seen == n)
		kill(getpid(), SIGKILL);
}

int rename(const char *from, const char *to)
{
	int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");

	count();
	return real(from, to);
}

int unlink(const char *path)
{
	int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");

	count();
	return real(path);
}
