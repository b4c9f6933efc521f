/* SPDX-License-Identifier: Apache-2.0 */
/* countries: see countries.h. Layer snap. Owns the copy and libmaxminddb's view of it. */
#include "config.h"

#include "snap/countries.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"

#define COPY_BYTES (256u << 10)
#define TREE_END 16                     /* zero bytes between the search tree and the data */

struct countries {
	MMDB_s db;
};

/* ---- the copy -------------------------------------------------------------------------------- */

static int bad_file(struct err *err, const char *path, const char *why)
{
	return err_set(err, KV_ERR_CHECK, "%s cannot be used: %s", path, why);
}

/* Never waits: a fifo has no writer's attention to hope for. */
static int open_file(const char *path, struct stat *st, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *why = NULL;

	if (fd < 0 || fstat(fd, st) < 0)
		why = strerror(errno);
	else if (!S_ISREG(st->st_mode))
		why = "it is no file";
	else if (st->st_size > (off_t)COUNTRIES_BYTES_MAX)
		why = "it is larger than 256 MiB";
	if (!why)
		return fd;
	if (fd >= 0)
		close(fd);
	return bad_file(err, path, why);
}

static bool write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, p, n);

		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

/* NULL, or what went wrong. As many bytes as there were: what grows meanwhile is cut. */
static const char *copy(int from, int to, off_t size)
{
	_cleanup_free_ char *b = kv_malloc(COPY_BYTES);
	off_t left = size;

	while (left > 0) {
		ssize_t n = read(from, b, left < (off_t)COPY_BYTES ? (size_t)left : COPY_BYTES);

		if (n < 0)
			return strerror(errno);
		if (n == 0)
			return "it became shorter while it was read";
		if (!write_all(to, b, (size_t)n))
			return strerror(errno);
		left -= n;
	}
	return NULL;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int copy_file(const char *path, struct stat *st, struct err *err)
{
	int from = open_file(path, st, err), to;
	const char *why = NULL;
	struct stat after;

	if (from < 0)
		return from;
	to = memfd_create("countries", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (to < 0)
		why = strerror(errno);
	if (!why)
		why = copy(from, to, st->st_size);
	if (!why && (fstat(from, &after) < 0 || !is_same(st, &after)))
		why = "it was changed while it was read";
	if (!why && fcntl(to, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		why = strerror(errno);
	close(from);
	if (!why)
		return to;
	int r = bad_file(err, path, why);

	if (to >= 0)
		close(to);
	return r;
}

/* ---- the database ---------------------------------------------------------------------------- */

/* Sizes that the header claims against those that are there. */
static const char *check_shape(const MMDB_s *db, off_t size)
{
	const MMDB_metadata_s *m = &db->metadata;
	uint64_t tree = (uint64_t)m->node_count * m->record_size / 4;

	if (m->record_size != 24 && m->record_size != 28 && m->record_size != 32)
		return "its records have no known size";
	if (m->ip_version != 4 && m->ip_version != 6)
		return "it is neither of IPv4 nor of IPv6";
	if (m->node_count == 0 || tree + TREE_END > (uint64_t)size)
		return "its search tree is longer than the file";
	return NULL;
}

int countries_open(const char *path, struct countries **ret, struct err *err)
{
	struct stat st;
	char proc[64];
	int fd = copy_file(path, &st, err);

	if (fd < 0)
		return fd;
	struct countries *c = kv_zalloc(sizeof(*c));

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	int r = MMDB_open(proc, MMDB_MODE_MMAP, &c->db);
	const char *why = r == MMDB_SUCCESS ? check_shape(&c->db, st.st_size) :
			  r == MMDB_IO_ERROR ? strerror(errno) : MMDB_strerror(r);

	close(fd);
	if (!why) {
		*ret = c;
		return 0;
	}
	if (r == MMDB_SUCCESS)
		MMDB_close(&c->db);
	free(c);
	return bad_file(err, path, why);
}

void countries_free(struct countries *c)
{
	if (!c)
		return;
	MMDB_close(&c->db);
	free(c);
}

/* ---- a lookup -------------------------------------------------------------------------------- */

static bool take_code(const MMDB_entry_data_s *d, char ret[static 3])
{
	if (!d->has_data || d->type != MMDB_DATA_TYPE_UTF8_STRING || d->data_size != 2)
		return false;
	for (size_t i = 0; i < 2; i++) {
		char ch = d->utf8_string[i];

		ret[i] = ch >= 'a' && ch <= 'z' ? (char)(ch - 'a' + 'A') : ch;
		if (ret[i] < 'A' || ret[i] > 'Z')
			return false;
	}
	ret[2] = '\0';
	return true;
}

/* As MaxMind writes it, and as the flat databases of others do. */
static bool find_code(MMDB_entry_s *e, char ret[static 3])
{
	static const char *const paths[][3] = {
		{ "country", "iso_code", NULL }, { "country_code", NULL }, { "country", NULL },
	};
	MMDB_entry_data_s d;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (MMDB_aget_value(e, &d, paths[i]) == MMDB_SUCCESS && take_code(&d, ret))
			return true;
	return false;
}

bool countries_find(const struct countries *c, const uint8_t addr[static 16], char ret[static 3])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	bool v4 = memcmp(addr, mapped, sizeof(mapped)) == 0;
	int error = MMDB_SUCCESS;

	memcpy(&in.sin_addr, addr + 12, 4);
	memcpy(&in6.sin6_addr, addr, 16);
	MMDB_lookup_result_s found = MMDB_lookup_sockaddr(
		&c->db, v4 ? (const struct sockaddr *)&in : (const struct sockaddr *)&in6, &error);

	return error == MMDB_SUCCESS && found.found_entry && find_code(&found.entry, ret);
}
