/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup: finding units below the slices, see cgroup.h. Layer io.
 * Only slices are descended into: those belong to the system's manager. A unit of the same name
 * that some user's own manager runs is below a service (user@UID.service) and is never found.
 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "io/cgroup.h"

#define SLICE_DEPTH_MAX 8
#define SLICE_COUNT_MAX 1024            /* directories opened for one question */
#define BELOW_DEPTH_MAX 4
#define BELOW_COUNT_MAX 256

const char *cgroup_root(void)
{
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	struct statfs fs;

	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++)
		if (statfs(roots[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
			return roots[i];
	return NULL;
}

/* A sub-directory, or -1. */
static int open_dir(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);

	return n > k && strcmp(name + n - k, suffix) == 0;
}

/* The unit's directory in this slice or a slice below; takes at. */
static int find_unit(int at, const char *unit, unsigned depth, unsigned *budget)
{
	int fd = open_dir(at, unit);
	DIR *d;

	if (fd >= 0 || depth == 0 || *budget == 0 || !(d = fdopendir(at))) {
		close(at);
		return fd;
	}
	--*budget;
	for (struct dirent *e; fd < 0 && (e = readdir(d)); ) {
		int slice = has_suffix(e->d_name, ".slice") ? open_dir(dirfd(d), e->d_name) : -1;

		if (slice >= 0)
			fd = find_unit(slice, unit, depth - 1, budget);
	}
	closedir(d);
	return fd;
}

static int open_unit(const char *root, const char *unit)
{
	unsigned budget = SLICE_COUNT_MAX;
	int top = root ? open_dir(AT_FDCWD, root) : -1;
	int fd;

	if (top < 0 || !*unit || *unit == '.' || strchr(unit, '/')) {
		if (top >= 0)
			close(top);
		return -1;
	}
	int system = open_dir(top, "system.slice");

	fd = system >= 0 ? open_dir(system, unit) : -1;
	if (system >= 0)
		close(system);
	if (fd >= 0) {
		close(top);
		return fd;
	}
	return find_unit(top, unit, SLICE_DEPTH_MAX, &budget);
}

static uint64_t id_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

uint64_t cgroup_of_unit(const char *root, const char *unit)
{
	int fd = open_unit(root, unit);

	if (fd < 0)
		return 0;
	uint64_t id = id_of(fd);

	close(fd);
	return id;
}

unsigned cgroup_path_of_unit(const char *root, const char *unit, char *ret, size_t n)
{
	char link[64], path[4096];
	int fd = open_unit(root, unit);
	unsigned levels = 1;

	if (fd < 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t got = readlink(link, path, sizeof(path) - 1);
	size_t skip = strlen(root) + 1;

	close(fd);
	if (got <= (ssize_t)skip || (size_t)got - skip >= n)
		return 0;
	memcpy(ret, path + skip, (size_t)got - skip);
	ret[(size_t)got - skip] = '\0';
	for (const char *p = ret; (p = strchr(p, '/')); p++)
		levels++;
	return levels;
}

/* Takes fd. */
static bool is_below(int fd, uint64_t id, unsigned depth, unsigned *budget)
{
	bool found = id_of(fd) == id;
	DIR *d;

	if (found || depth == 0 || *budget == 0 || !(d = fdopendir(fd))) {
		close(fd);
		return found;
	}
	--*budget;
	for (struct dirent *e; !found && (e = readdir(d)); ) {
		int sub = e->d_type == DT_DIR && e->d_name[0] != '.' ? open_dir(dirfd(d), e->d_name)
								     : -1;

		if (sub >= 0)
			found = is_below(sub, id, depth - 1, budget);
	}
	closedir(d);
	return found;
}

bool cgroup_unit_has(const char *root, const char *unit, uint64_t id)
{
	unsigned budget = BELOW_COUNT_MAX;
	int fd = open_unit(root, unit);

	return fd >= 0 && is_below(fd, id, BELOW_DEPTH_MAX, &budget);
}
