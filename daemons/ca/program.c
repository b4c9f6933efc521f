/* SPDX-License-Identifier: Apache-2.0 */
/* program: see program.h. Layer daemons/ca. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ca/program.h"
#include "io/tls_digest.h"

#define CACHE 64
#define PIECE (256u << 10)

/* Whoever changes a file changes its ctime, which nobody can set. */
struct known {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
	char sha256[TLS_DIGEST_HEX_MAX];        /* "": free */
};
static struct known cache[CACHE];
static size_t next_place;

static int refuse(const struct attest *a, struct err *err, const char *why)
{
	return err_set(err, KV_ERR_REFUSED, "process %d %s", (int)a->pid, why);
}

static bool same_time(const struct timespec *x, const struct timespec *y)
{
	return x->tv_sec == y->tv_sec && x->tv_nsec == y->tv_nsec;
}

static bool is_of(const struct known *k, const struct stat *st)
{
	return k->sha256[0] && k->dev == st->st_dev && k->ino == st->st_ino && k->size == st->st_size &&
	       same_time(&k->mtime, &st->st_mtim) && same_time(&k->ctime, &st->st_ctim);
}

/* NULL, or why not. */
static const char *digest(int fd, char ret[static TLS_DIGEST_HEX_MAX])
{
	uint64_t end = clock_mono_us() + PROGRAM_TIME_MAX_US;
	struct tls_digest *d = tls_digest_new();
	_cleanup_free_ char *piece = kv_malloc(PIECE);
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, piece, PIECE, at)) > 0 && at <= PROGRAM_BYTES_MAX && clock_mono_us() < end) {
		tls_digest_add(d, str_from(piece, (size_t)n));
		at += n;
	}
	tls_digest_end(d, ret);
	if (n < 0)
		return "runs a program that cannot be read";
	return n > 0 ? "runs a program that is too large to be read, or too slow" : NULL;
}

static const char *known_digest(int fd, const struct stat *st, char ret[static TLS_DIGEST_HEX_MAX])
{
	struct known now = { .dev = st->st_dev, .ino = st->st_ino, .size = st->st_size, .mtime = st->st_mtim,
			     .ctime = st->st_ctim };
	struct stat after;

	for (size_t i = 0; i < CACHE; i++)
		if (is_of(&cache[i], st)) {
			memcpy(ret, cache[i].sha256, sizeof(cache[i].sha256));
			return NULL;
		}
	if (st->st_size > PROGRAM_BYTES_MAX)
		return "runs a program that is too large to be read";
	const char *why = digest(fd, now.sha256);

	if (why)
		return why;
	if (fstat(fd, &after) < 0 || !is_of(&now, &after))
		return "runs a program whose file changes";
	cache[next_place++ % CACHE] = now;
	memcpy(ret, now.sha256, sizeof(now.sha256));
	return NULL;
}

static const char *check_path(struct str path, const struct stat *st)
{
	_cleanup_free_ char *name = kv_asprintf("%.*s", STR_ARG(path));
	struct stat want;

	if (stat(name, &want) < 0)
		return "should run a program whose file kvmesh-ca cannot see";
	return want.st_dev == st->st_dev && want.st_ino == st->st_ino ?
		       NULL : "runs another program, or its file was replaced since";
}

static const char *check_file(int fd, const struct stat *st, struct str path, struct str sha256)
{
	char have[TLS_DIGEST_HEX_MAX];
	const char *why = path.n > 0 ? check_path(path, st) : NULL;

	if (!why && sha256.n > 0)
		why = known_digest(fd, st, have);
	if (why || sha256.n == 0)
		return why;
	return str_ieq(str_c(have), sha256) ? NULL : "runs a program with another SHA-256";
}

static int open_program(const struct attest *a)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)a->pid);
	return open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

int program_check(struct attest *a, struct str path, struct str sha256, struct err *err)
{
	struct stat st;

	if (a->pidfd < 0)
		return refuse(a, err, "is not looked at in this mode, and its program matters");
	int fd = open_program(a);

	if (fd < 0)
		return refuse(a, err, errno == EACCES || errno == EPERM ?
			      "runs a program that kvmesh-ca may not look at: it needs CAP_SYS_PTRACE for that" :
			      "runs a program that cannot be looked at");
	const char *why = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ? "runs a program that is no file" :
								       check_file(fd, &st, path, sha256);

	close(fd);
	if (why)
		return refuse(a, err, why);
	a->program_dev = st.st_dev;
	a->program_ino = st.st_ino;
	return attest_confirm(a, err);
}

bool program_runs(void *process, const struct registry_identity *id)
{
	struct err err = { 0 };

	if (program_check(process, id->executable, id->sha256, &err) == 0)
		return true;
	log_warn("attest_denied: %.*s: %s", STR_ARG(id->spiffe), err.text);
	return false;
}
