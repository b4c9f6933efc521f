/* SPDX-License-Identifier: Apache-2.0 */
/* quantity: see quantity.h. Layer config. */
#include "config/quantity.h"

#define CORES_MAX 1e6
#define BYTES_MAX 1152921504606846976.0 /* 1 EiB */

bool quantity_cpu(struct str s, int64_t *ret_milli)
{
	bool milli = str_has_suffix(s, STR("m"));
	double v;

	if (milli)
		s = str_take(s, s.n - 1);
	if (!str_to_double(s, &v) || v < 0 || v > (milli ? CORES_MAX * 1000 : CORES_MAX))
		return false;
	if (!milli)
		v *= 1000;
	*ret_milli = (int64_t)v;
	if ((double)*ret_milli < v)
		*ret_milli += 1;
	return true;
}

bool quantity_memory(struct str s, int64_t *ret_bytes)
{
	static const struct {
		const char *suffix;
		double factor;
	} units[] = {
		{ "Ki", 1024.0 }, { "Mi", 1048576.0 }, { "Gi", 1073741824.0 },
		{ "Ti", 1099511627776.0 }, { "k", 1e3 }, { "K", 1e3 }, { "M", 1e6 },
		{ "G", 1e9 }, { "T", 1e12 },
	};
	double v, factor = 1;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && factor == 1; i++)
		if (str_has_suffix(s, str_c(units[i].suffix))) {
			s = str_take(s, s.n - strlen(units[i].suffix));
			factor = units[i].factor;
		}
	if (!str_to_double(s, &v) || v < 0 || v * factor > BYTES_MAX)
		return false;
	*ret_bytes = (int64_t)(v * factor);
	return true;
}
