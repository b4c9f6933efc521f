/* SPDX-License-Identifier: Apache-2.0 */
/* unit: what systemd says of a unit, see processes.h. Layer daemons/nft; a file that knows libsystemd. */
#include "config.h"

#include <systemd/sd-bus.h>

#include "nft/processes.h"

#define SYSTEMD "org.freedesktop.systemd1"

int unit_user(const char *unit, struct arena *a, struct str *ret, struct err *err)
{
	sd_bus *bus = NULL;
	sd_bus_error e = SD_BUS_ERROR_NULL;
	_cleanup_free_ char *path = NULL, *user = NULL;
	int r = sd_bus_open_system(&bus);

	if (r >= 0)
		r = sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path);
	if (r >= 0)
		r = sd_bus_get_property_string(bus, SYSTEMD, path, SYSTEMD ".Service", "User", &e, &user);
	if (r < 0)
		err_set(err, r, "systemd does not say whose unit %s is: %s", unit,
			e.message ? e.message : err_code_name(r));
	else
		*ret = arena_str(a, str_c(user));
	sd_bus_error_free(&e);
	sd_bus_flush_close_unref(bus);
	return r < 0 ? r : 0;
}
