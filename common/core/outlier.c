/* SPDX-License-Identifier: Apache-2.0 */
/* outlier: see outlier.h. Layer core. */
#include "core/outlier.h"

#define EJECTION_MAX_US (UINT64_C(300) * 1000000)       /* Envoy's max_ejection_time */

static size_t count_ejected(const struct outlier_set *set, uint64_t now_us)
{
	size_t n = 0;

	for (size_t i = 0; i < set->n; i++)
		n += outlier_is_ejected(set->get(set->arg, i), now_us);
	return n;
}

/* One may always go: else the default of 10 % would never eject in a pool of a few (2.8.8). */
static bool may_eject(const struct snap_outlier *o, const struct outlier_set *set, uint64_t now_us)
{
	size_t ejected = count_ejected(set, now_us);

	return ejected == 0 || ejected * 100 < (uint64_t)o->max_ejection_percent * set->n;
}

/* The multiplier falls by one for each interval in health since the last ejection. */
static unsigned multiplier(const struct snap_outlier *o, struct outlier_host *h, uint64_t now_us)
{
	uint64_t until = atomic_load_explicit(&h->ejected_until_us, memory_order_relaxed);
	unsigned times = atomic_load_explicit(&h->times, memory_order_relaxed);
	uint64_t healthy = o->interval_us > 0 && now_us > until ?
				   (now_us - until) / (uint64_t)o->interval_us : 0;

	return healthy >= times ? 1 : times - (unsigned)healthy + 1;
}

static void reset(struct outlier_host *h)
{
	atomic_store_explicit(&h->n_5xx, 0, memory_order_relaxed);
	atomic_store_explicit(&h->n_gateway, 0, memory_order_relaxed);
	atomic_store_explicit(&h->n_local, 0, memory_order_relaxed);
}

static bool eject(const struct snap_outlier *o, const struct outlier_set *set,
		  struct outlier_host *h, uint64_t now_us, uint64_t *ret_us)
{
	uint64_t base = (uint64_t)o->base_ejection_us, us;
	uint64_t max = base > EJECTION_MAX_US ? base : EJECTION_MAX_US;
	unsigned times;

	if (outlier_is_ejected(h, now_us) || !may_eject(o, set, now_us))
		return false;
	times = multiplier(o, h, now_us);
	us = base > 0 && times > max / base ? max : base * times;
	reset(h);
	atomic_store_explicit(&h->times, times, memory_order_relaxed);
	atomic_store_explicit(&h->ejected_until_us, now_us + us, memory_order_relaxed);
	*ret_us = us;
	return true;
}

/* One more in a row: too many? */
static bool is_full(atomic_uint *n, int64_t max)
{
	return max > 0 && atomic_fetch_add_explicit(n, 1, memory_order_relaxed) + 1 >= max;
}

static void clear(atomic_uint *n)
{
	if (atomic_load_explicit(n, memory_order_relaxed) > 0)
		atomic_store_explicit(n, 0, memory_order_relaxed);
}

static bool note(const struct snap_outlier *o, const struct outlier_set *set, size_t host,
		 unsigned status, uint64_t now_us, uint64_t *ret_us, enum outlier_kind *ret_why)
{
	struct outlier_host *h = set->get(set->arg, host);
	bool gateway = status >= 502 && status <= 504;

	if (!gateway)
		clear(&h->n_gateway);
	if (status < 500) {
		clear(&h->n_5xx);
		return false;
	}
	*ret_why = OUTLIER_GATEWAY;
	if (gateway && is_full(&h->n_gateway, o->consecutive_gateway) &&
	    eject(o, set, h, now_us, ret_us))
		return true;
	*ret_why = OUTLIER_5XX;
	return is_full(&h->n_5xx, o->consecutive_5xx) && eject(o, set, h, now_us, ret_us);
}

/* Codes that a rule lists are told as 500, the others as 200: that is how Envoy's matcher does it. */
static unsigned told_as(const struct snap_outlier *o, unsigned status)
{
	for (size_t i = 0; i < o->codes.n; i++)
		if (o->codes.v[i] == status)
			return 500;
	return o->codes.n > 0 ? 200 : status;
}

bool outlier_answered(const struct snap_outlier *o, const struct outlier_set *set, size_t host,
		      unsigned status, uint64_t now_us, uint64_t *ret_us, enum outlier_kind *ret_why)
{
	return note(o, set, host, told_as(o, status), now_us, ret_us, ret_why);
}

bool outlier_broke(const struct snap_outlier *o, const struct outlier_set *set, size_t host,
		   uint64_t now_us, uint64_t *ret_us, enum outlier_kind *ret_why)
{
	struct outlier_host *h = set->get(set->arg, host);

	if (!o->split_local)
		return note(o, set, host, 503, now_us, ret_us, ret_why);
	*ret_why = OUTLIER_LOCAL;
	return is_full(&h->n_local, o->consecutive_local) && eject(o, set, h, now_us, ret_us);
}

void outlier_connected(const struct snap_outlier *o, struct outlier_host *h, bool tcp)
{
	if (o->split_local)
		clear(&h->n_local);
	if (!tcp)
		return;
	clear(&h->n_5xx);
	clear(&h->n_gateway);
}

bool outlier_panics(const struct snap_outlier *o, const struct outlier_set *set, uint64_t now_us)
{
	if (o->min_health_percent == 0)
		return false;
	return (set->n - count_ejected(set, now_us)) * 100 <
	       (uint64_t)o->min_health_percent * set->n;
}

unsigned outlier_status_of_grpc(int grpc_status)
{
	/* grpc/grpc doc/http-grpc-status-mapping.md, the other way round, as Envoy has it. */
	static const unsigned short status[] = { 200, 499, 500, 400, 504, 404, 409, 403, 429,
						 400, 409, 400, 501, 500, 503, 500, 401 };

	if (grpc_status < 0 || (size_t)grpc_status >= sizeof(status) / sizeof(status[0]))
		return 500;
	return status[grpc_status];
}
