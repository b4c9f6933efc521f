/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs: whole files, read with a cap and written so that a crash leaves the old or the new one
 * (security-model C1: O_EXCL temporary in the same directory, fsync, rename, fsync of the
 * directory). Layer base.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Read a regular file of at most max bytes; *ret is malloc'ed with a NUL behind it. */
int fs_read(const char *path, size_t max, char **ret, size_t *ret_n, struct err *err);
/* Replace path atomically; mode is exact from the first moment. */
int fs_write(const char *path, const void *data, size_t n, mode_t mode, struct err *err);
/* The same for somebody else, whose it is before there is anything in it. */
int fs_write_as(const char *path, const void *data, size_t n, mode_t mode, uid_t uid, gid_t gid,
		struct err *err);
/*
 * The same for a file that is somebody's: owner, group and mode stay, as does a link to it. Nobody
 * ever sees it with another owner.
 */
int fs_replace(const char *path, const void *data, size_t n, struct err *err);
/* mkdir -p with that mode for the directories that are missing. */
int fs_mkdir(const char *path, mode_t mode, struct err *err);
