/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certs: a certificate as PEM files for a program that speaks no SPIFFE: where they are, whose they
 * are, and how they take the place of those before. Layer daemons/ctl.
 *
 *   svid.pem         the leaf and its issuer
 *   svid_key.pem     the key, alone readable by whom the Workload names
 *   svid_pair.pem    both, for programs that want one file: it is never half new
 *   svid_bundle.pem  whom to trust
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "config/model.h"

struct certs_place {
	const char *dir;
	uid_t uid;
	gid_t gid;
	mode_t key_mode;
};

/*
 * In the arena. The default directory, RUN/certs/NAME (NAME.NS outside of "default"), is made when
 * it is missing. KV_ERR_REFUSED: somebody else than root or the caller could put other files there.
 */
int certs_place_of(const struct model_workload *w, const char *run_dir, struct arena *a,
		   struct certs_place *ret, struct err *err);

struct certs_set {
	struct str key, leaf, bundle;   /* PEM */
	struct str issuer;              /* SHA-256 of its certificate, which is in the bundle; hex */
};
int certs_write(const struct certs_place *p, const struct certs_set *s, struct err *err);
