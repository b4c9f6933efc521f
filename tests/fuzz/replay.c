/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: the main function of a fuzz target in a build without libFuzzer: every file of the
 * target's corpus, or every file and folder named as an argument, once. The corpus of fuzz_NAME is
 * $srcdir/tests/fuzz/corpus/NAME. A corpus that is missing or empty is a failure: it proves
 * nothing.
 */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"

#include "fuzz.h"

#define INPUT_MAX (16u << 20)

/* The number of inputs in path. */
static unsigned replay(const char *path);

static unsigned replay_dir(const char *path)
{
	struct dirent **names = NULL;
	int n = scandir(path, &names, NULL, alphasort);
	unsigned done = 0;

	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			_cleanup_free_ char *sub = kv_asprintf("%s/%s", path, names[i]->d_name);
			done += replay(sub);
		}
		free(names[i]);
	}
	free(names);
	return done;
}

static unsigned replay(const char *path)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;
	struct err err;
	size_t n;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return replay_dir(path);
	if (fs_read(path, INPUT_MAX, &text, &n, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(EXIT_FAILURE);
	}
	/* Told before, so that a crash names its input. */
	printf("%s\n", path);
	fflush(stdout);
	/* A copy of exactly that size, so that AddressSanitizer sees a read past the end. */
	_cleanup_free_ uint8_t *exact = kv_malloc(n);
	if (n > 0)
		memcpy(exact, text, n);
	LLVMFuzzerTestOneInput(exact, n);
	return 1;
}

static char *own_corpus(const char *argv0)
{
	const char *slash = strrchr(argv0, '/'), *srcdir = getenv("srcdir");
	const char *name = slash ? slash + 1 : argv0;

	if (strncmp(name, "fuzz_", 5) == 0)
		name += 5;
	return kv_asprintf("%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".", name);
}

int main(int argc, char **argv)
{
	_cleanup_free_ char *corpus = own_corpus(argv[0]);
	unsigned done = 0;

	for (int i = 1; i < argc; i++)
		done += replay(argv[i]);
	if (argc < 2)
		done = replay(corpus);
	printf("%u inputs\n", done);
	return done > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
