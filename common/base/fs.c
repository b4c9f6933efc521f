/* SPDX-License-Identifier: Apache-2.0 */
/* fs: whole files, read with a cap, written atomically; directories. Layer base. */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define _cleanup_close_ _cleanup_(closep)

static int fail(struct err *err, const char *what, const char *path)
{
	int code = -errno;

	return err_set(err, code, "cannot %s %s: %s", what, path, strerror(-code));
}

/* Read until the end or until more than max bytes were seen. */
static int read_all(int fd, const char *path, size_t max, char **ret, size_t *ret_n,
		    struct err *err)
{
	size_t n = 0, cap = 4096;
	_cleanup_free_ char *buf = kv_malloc(cap);

	for (;;) {
		if (n + 1 >= cap) {
			cap *= 2;
			buf = kv_realloc(buf, cap);
		}
		ssize_t got = read(fd, buf + n, cap - n - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(err, "read", path);
		if (got == 0)
			break;
		n += (size_t)got;
		if (n > max)
			return err_set(err, KV_ERR_LIMIT, "%s is larger than %zu bytes", path, max);
	}
	buf[n] = '\0';
	*ret = take(&buf);
	*ret_n = n;
	return 0;
}

int fs_read(const char *path, size_t max, char **ret, size_t *ret_n, struct err *err)
{
	/* O_NONBLOCK: opening a FIFO must not wait for a writer. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return fail(err, "open", path);
	if (fstat(fd, &st) < 0)
		return fail(err, "stat", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL,
			       "%s is not a regular file", path);
	if (st.st_size > 0 && (uint64_t)st.st_size > max)
		return err_set(err, KV_ERR_LIMIT, "%s is larger than %zu bytes", path, max);
	return read_all(fd, path, max, ret, ret_n, err);
}

static int write_all(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n > 0) {
		ssize_t put = write(fd, p, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

/* "dir/x" gives "dir", "x" gives ".", "/x" gives "/". */
static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return kv_strdup(".");
	if (slash == path)
		return kv_strdup("/");
	return kv_asprintf("%.*s", (int)(slash - path), path);
}

static int sync_dir(const char *dir, struct err *err)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fail(err, "open", dir);
	/* Some file systems have no fsync for directories. */
	if (fsync(fd) < 0 && errno != EINVAL)
		return fail(err, "sync", dir);
	return 0;
}

/*
 * The whole content under a temporary name. fchmod because the umask narrows open's mode, and behind
 * fchown, which takes bits away. owner: NULL the caller.
 */
static int write_tmp(const char *tmp, const void *data, size_t n, mode_t mode,
		     const struct stat *owner, struct err *err)
{
	_cleanup_close_ int fd =
		open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode & 0600);
	int rc;

	if (fd < 0)
		return fail(err, "create", tmp);
	if (owner && fchown(fd, owner->st_uid, owner->st_gid) < 0)
		return fail(err, "set the owner of", tmp);
	if (fchmod(fd, mode) < 0)
		return fail(err, "set the mode of", tmp);
	rc = write_all(fd, data, n);
	if (rc < 0)
		return err_set(err, rc, "cannot write %s: %s", tmp, strerror(-rc));
	if (fsync(fd) < 0)
		return fail(err, "sync", tmp);
	return 0;
}

static int write_over(const char *path, const void *data, size_t n, mode_t mode,
		      const struct stat *owner, struct err *err)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = parent_of(path);
	uint64_t salt;

	rng_secure(&salt, sizeof(salt));
	_cleanup_free_ char *tmp =
		kv_asprintf("%s/.%s.%016" PRIx64 ".tmp", dir, slash ? slash + 1 : path, salt);
	int rc = write_tmp(tmp, data, n, mode, owner, err);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = fail(err, "replace", path);
	if (rc < 0) {
		/* -EEXIST: somebody else's file, not ours to remove. */
		if (rc != -EEXIST)
			unlink(tmp);
		return rc;
	}
	return sync_dir(dir, err);
}

int fs_write(const char *path, const void *data, size_t n, mode_t mode, struct err *err)
{
	return write_over(path, data, n, mode, NULL, err);
}

int fs_write_as(const char *path, const void *data, size_t n, mode_t mode, uid_t uid, gid_t gid,
		struct err *err)
{
	const struct stat owner = { .st_uid = uid, .st_gid = gid };

	return write_over(path, data, n, mode, &owner, err);
}

int fs_replace(const char *path, const void *data, size_t n, struct err *err)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	struct stat st;

	if (!real || stat(real, &st) < 0)
		return fail(err, "replace", path);
	return write_over(real, data, n, st.st_mode & 07777, &st, err);
}

static int mkdir_one(const char *path, mode_t mode, struct err *err)
{
	struct stat st;

	if (mkdir(path, mode) == 0)
		return 0;
	int code = -errno;
	if (code == -EEXIST && stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		code = -ENOTDIR;
	}
	return err_set(err, code, "cannot create the directory %s: %s", path, strerror(-code));
}

int fs_mkdir(const char *path, mode_t mode, struct err *err)
{
	_cleanup_free_ char *part = kv_strdup(path);

	for (char *p = part + 1; part[0] != '\0' && *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		int rc = mkdir_one(part, mode, err);
		if (rc < 0)
			return rc;
		*p = '/';
	}
	return mkdir_one(part, mode, err);
}
