/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept: one line "kvmesh-kept 1 HASH BYTES", then the bytes. Layer ipc. The hash guards against
 * torn writes and bad disks, not against people: the state directory is the daemon's own.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/log.h"
#include "ipc/kept.h"

#define MAGIC "kvmesh-kept 1 "
#define HEAD_MAX 64

int kept_save(const char *path, struct str data, struct err *err)
{
	_cleanup_free_ char *prev = kv_asprintf("%s.prev", path);
	struct arena a;

	/*
	 * At every moment one of the two names is whole: PREV is a second name until PATH is
	 * replaced.
	 */
	(void)unlink(prev);
	if (link(path, prev) != 0 && errno != ENOENT)
		return err_set(err, -errno, "cannot keep %s as %s: %s", path, prev,
			       strerror(errno));
	arena_init(&a, data.n + HEAD_MAX);
	struct str head = arena_printf(&a, MAGIC "%016" PRIx64 " %zu\n", hash_str(data), data.n);
	char *all = arena_alloc(&a, head.n + data.n);

	memcpy(all, head.p, head.n);
	memcpy(all + head.n, data.p, data.n);
	int r = fs_write(path, all, head.n + data.n, 0600, err);

	arena_done(&a);
	return r;
}

/* The data behind a good head, or STR_NULL. */
static struct str check(struct str all)
{
	struct str rest = all, line, hash;
	uint64_t want, bytes;

	if (!str_split(&rest, '\n', &line) || !rest.p || !str_has_prefix(line, STR(MAGIC)))
		return STR_NULL;
	line = str_skip(line, sizeof(MAGIC) - 1);
	if (!str_split(&line, ' ', &hash) || !line.p || !str_hex_to_u64(hash, &want) ||
	    !str_to_u64(line, &bytes))
		return STR_NULL;
	return bytes == rest.n && hash_str(rest) == want ? rest : STR_NULL;
}

static int load_one(const char *path, size_t max, char **ret, size_t *ret_n, struct err *err)
{
	_cleanup_free_ char *all = NULL;
	size_t n;
	int r = fs_read(path, max + HEAD_MAX, &all, &n, err);

	if (r < 0)
		return r;
	struct str data = check(str_from(all, n));

	if (!data.p)
		return err_set(err, KV_ERR_SYNTAX, "%s is damaged", path);
	*ret_n = data.n;
	memmove(all, data.p, data.n);
	all[data.n] = '\0';
	*ret = take(&all);
	return 0;
}

int kept_load(const char *path, size_t max, char **ret, size_t *ret_n, struct err *err)
{
	_cleanup_free_ char *prev = kv_asprintf("%s.prev", path);
	struct err second = { 0 };
	int r = load_one(path, max, ret, ret_n, err);

	if (r == 0)
		return 0;
	if (load_one(prev, max, ret, ret_n, &second) < 0)
		return r;
	log_warn("%s; the version before it is used", err ? err->text : path);
	return 0;
}
