/* SPDX-License-Identifier: Apache-2.0 */
/* rights: users and groups behind the permission column of method tables. Layer ipc. */
#include "config.h"

#include <pwd.h>
#include <stddef.h>
#include <unistd.h>

#include "ipc/ipc.h"
#include "ipc/rights.h"

bool rights_find_user(const char *name, uid_t *ret)
{
	char buf[4096];
	struct passwd pw, *found = NULL;
	bool ok = getpwnam_r(name, &pw, buf, sizeof(buf), &found) == 0 && found;

	if (ok)
		*ret = found->pw_uid;
	return ok;
}

bool rights_is_user(uid_t uid, const char *name)
{
	uid_t own;

	return rights_find_user(name, &own) && own == uid;
}

bool rights_is_daemon(uid_t uid)
{
	static const char *const users[] = {
		RIGHTS_USER_PROXY, RIGHTS_USER_CA, RIGHTS_USER_ROUTER, RIGHTS_USER_METRICS,
	};

	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++)
		if (rights_is_user(uid, users[i]))
			return true;
	return false;
}

unsigned rights_of(const struct sock_peer *p)
{
	unsigned r = 0;

	if (p->uid == 0 || p->uid == geteuid())
		r |= IPC_ALLOW_ROOT;
	if (rights_is_daemon(p->uid))
		r |= IPC_ALLOW_DAEMON;
	if (sock_peer_in_group(p, "kvmesh-admin"))
		r |= IPC_ALLOW_ADMIN;
	if (sock_peer_in_group(p, "kvmesh-view"))
		r |= IPC_ALLOW_VIEW;
	return r;
}

#define NODE_UNIT "kvmesh-proxy.service"
#define INSTANCE_PREFIX "kvmesh-proxy@"
#define UNIT_SUFFIX ".service"

struct str rights_instance_of_unit(const char *unit)
{
	struct str u = str_c(unit);

	if (str_eq(u, STR(NODE_UNIT)))
		return STR(RIGHTS_NODE_INSTANCE);
	if (!str_has_prefix(u, STR(INSTANCE_PREFIX)) || !str_has_suffix(u, STR(UNIT_SUFFIX)) ||
	    u.n <= sizeof(INSTANCE_PREFIX) - 1 + sizeof(UNIT_SUFFIX) - 1)
		return STR_NULL;
	u = str_skip(u, sizeof(INSTANCE_PREFIX) - 1);
	u = str_take(u, u.n - (sizeof(UNIT_SUFFIX) - 1));
	/* kvmesh-proxy@node.service is somebody's own: the node proxy has one unit and no other. */
	return str_eq(u, STR(RIGHTS_NODE_INSTANCE)) ? STR_NULL : u;
}
