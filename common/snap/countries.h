/* SPDX-License-Identifier: Apache-2.0 */
/*
 * countries: which country an address is in, by a MaxMind database (GeoLite2-Country and its like).
 * Layer snap; the only file that knows libmaxminddb. The file is copied into sealed memory before it
 * is opened: whoever truncates or rewrites it in place changes nothing that is in use.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define COUNTRIES_BYTES_MAX (256u << 20)

struct countries;
/* Negative: the sentence says what is wrong with the file. */
int countries_open(const char *path, struct countries **ret, struct err *err);
void countries_free(struct countries *c);
/* The ISO code of the network's country; false: the database does not tell. Any thread. */
bool countries_find(const struct countries *c, const uint8_t addr[static 16], char ret[static 3]);
