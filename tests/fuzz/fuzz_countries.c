/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_countries: any bytes as a database of countries: refused, or addresses are looked up in it; what is found is a code. */
#include "config.h"

#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "snap/countries.h"
#include "snap/residency.h"

/*
 * libmaxminddb 1.7 forgets a pool of 4 KiB when the lists in a header are broken: once for a bad file,
 * and nothing that its caller could give back. The leak sanitizer is told so.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libmaxminddb";
}

static const char *const addresses[] = { "203.0.113.5", "203.0.113.200", "198.51.100.1", "0.0.0.0", "255.255.255.255",
					 "2001:db8:de::1", "2001:db8:a::1", "::", "ffff:ffff:ffff:ffff::", "8000::" };

static void look_up(const struct countries *c)
{
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		uint8_t addr[16];
		char code[RESIDENCY_COUNTRY];

		fuzz_assert(residency_read_address(str_c(addresses[i]), addr));
		if (countries_find(c, addr, code))
			fuzz_assert(residency_is_country(str_c(code)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct countries *c = NULL;
	struct err err = { 0 };
	char path[64];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	fuzz_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (countries_open(path, &c, &err) == 0)
		look_up(c);
	else
		fuzz_assert(err.text[0] != '\0');
	countries_free(c);
	close(fd);
	return 0;
}
