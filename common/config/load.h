/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: files → model. Layer config. Reads kvmesh.conf, its drop-ins and every resource in native
 * syntax, Istio YAML or JSON; binds each by its kind's field table; fills in defaults that depend
 * on other fields. Every finding is reported. What a resource refers to is check.h's business.
 */
#pragma once

#include "config/model.h"

struct model_load_opts {
	const char *node_name; /* default of node.name (the host name); NULL: "localhost" */
	/*
	 * Age of a resource: micros since 1970 of its first sight, 0 unknown (then it is younger
	 * than every known one, in order of reading). NULL: order of reading.
	 * metadata.creationTimestamp wins over it.
	 */
	int64_t (*first_seen)(void *arg, const char *kind, struct str ns, struct str name);
	void *first_seen_arg;
	/* Files must belong to root or the caller; never turned off for what a daemon reads. */
	bool any_owner; /* true: a user's own files: owner and mode are not looked at */
	/*
	 * Where the CA publishes the keys of its tokens (STATE/jwks): files there may be a jwksUri
	 * and belong to whom the directory belongs to; NULL: nowhere.
	 */
	const char *keys_dir;
};

#define MODEL_RESOURCES_MAX 10000
#define MODEL_FILES_MAX 10000

/*
 * Read a configuration directory. Returns 0 or the first error's code. *ret is a model in any
 * case, so that every file's findings can be told and shown with their line; with an error it must
 * not be compiled. A missing kvmesh.conf or sub-directory is no error, a missing etc is.
 */
int model_load_dir(const char *etc, const struct model_load_opts *opts, struct model **ret,
		   struct err_list *errs);
/*
 * Read single files: paths[] are files, directories (their *.conf, *.yaml, *.yml, *.json,
 * recursively) or "-" for stdin, whose text the caller passes (YAML unless it begins like JSON or
 * native syntax). A file with a kvmesh.conf's groups (mesh, node, …) is read as one. etc != NULL:
 * the settings of that directory apply (root namespace, domain), but not its resources.
 */
int model_load_files(const char *const *paths, size_t n, struct str stdin_text, const char *etc,
		     const struct model_load_opts *opts, struct model **ret, struct err_list *errs);
/* Resources of one text in memory, for tests and fuzzing. */
int model_load_text(struct str text, const char *path, enum doc_syntax syntax,
		    const struct model_load_opts *opts, struct model **ret, struct err_list *errs);

/* Is this file name one of those that the loader ignores by rule (editor leftovers, dotfiles)? */
bool load_is_leftover(const char *name);
/* What syntax does text without a file name have? */
enum doc_syntax load_guess_syntax(struct str text);
