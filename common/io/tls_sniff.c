/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_sniff: server name and protocols of a ClientHello that has not been consumed. Layer io; knows
 * no OpenSSL and owns nothing. A hello that is spread over several records is recognised as TLS,
 * but its names are not read: whoever terminates it reads them properly.
 */
#include "io/tls.h"

#define RECORD_HANDSHAKE 0x16
#define RECORD_MAX 16384
#define CLIENT_HELLO 1
#define EXT_SERVER_NAME 0
#define EXT_ALPN 16
#define NAME_MAX_BYTES 255

/* Bytes of a length-checked message; bad is sticky. */
struct reader {
	struct str s;
	bool bad;
};

static struct str get(struct reader *r, size_t n)
{
	struct str got = str_take(r->s, n);

	if (got.n < n)
		r->bad = true;
	r->s = str_skip(r->s, n);
	return got;
}

static size_t get_number(struct reader *r, size_t bytes)
{
	struct str s = get(r, bytes);
	size_t v = 0;

	for (size_t i = 0; i < s.n; i++)
		v = v << 8 | (uint8_t)s.p[i];
	return r->bad ? 0 : v;
}

static struct str get_vector(struct reader *r, size_t length_bytes)
{
	size_t n = get_number(r, length_bytes);

	return get(r, n);
}

struct str tls_sni_of(struct str ext)
{
	struct reader list = { .s = ext };
	struct reader r = { .s = get_vector(&list, 2) };
	size_t type = get_number(&r, 1);
	struct str name = get_vector(&r, 2);

	if (list.bad || list.s.n > 0 || r.bad || type != 0 || name.n > NAME_MAX_BYTES)
		return STR_NULL;
	for (size_t i = 0; i < name.n; i++)
		if ((uint8_t)name.p[i] <= ' ' || (uint8_t)name.p[i] >= 0x7f)
			return STR_NULL;
	return name;
}

static struct str read_alpn(struct str ext)
{
	struct reader list = { .s = ext };
	struct str names = get_vector(&list, 2);
	struct reader r = { .s = names };

	while (r.s.n > 0 && !r.bad)
		if (get_vector(&r, 1).n == 0)
			r.bad = true;
	return list.bad || r.bad ? STR_NULL : names;
}

static void read_extensions(struct reader *hello, struct tls_hello *ret)
{
	struct reader r = { .s = get_vector(hello, 2) };

	while (r.s.n > 0 && !r.bad) {
		size_t type = get_number(&r, 2);
		struct str ext = get_vector(&r, 2);

		if (r.bad)
			break;
		if (type == EXT_SERVER_NAME)
			ret->sni = tls_sni_of(ext);
		else if (type == EXT_ALPN)
			ret->alpn_list = read_alpn(ext);
	}
	if (hello->bad || r.bad)
		*ret = (struct tls_hello){ 0 };
}

static void read_hello(struct str record, struct tls_hello *ret)
{
	struct reader r = { .s = record };

	get(&r, 1);
	struct reader hello = { .s = get_vector(&r, 3) };

	get(&hello, 2 + 32);            /* legacy version, random */
	get_vector(&hello, 1);          /* session id */
	get_vector(&hello, 2);          /* cipher suites */
	get_vector(&hello, 1);          /* compression */
	if (!r.bad && !hello.bad)
		read_extensions(&hello, ret);
}

int tls_sniff_hello(struct str in, struct tls_hello *ret)
{
	static const struct str begin = { "\x16\x03", 2 };

	*ret = (struct tls_hello){ 0 };
	if (!str_has_prefix(begin, str_take(in, 2)) || (in.n > 2 && (uint8_t)in.p[2] > 4))
		return 0;
	if (in.n < 5)
		return -1;
	size_t n = (size_t)(uint8_t)in.p[3] << 8 | (uint8_t)in.p[4];

	if (n < 4 || n > RECORD_MAX)
		return 0;
	if (in.n > 5 && in.p[5] != CLIENT_HELLO)
		return 0;
	if (in.n < 5 + n)
		return -1;
	read_hello(str_from(in.p + 5, n), ret);
	return 1;
}

bool tls_alpn_has(struct str alpn_list, struct str proto)
{
	struct reader r = { .s = alpn_list };

	while (r.s.n > 0 && !r.bad) {
		struct str one = get_vector(&r, 1);

		if (!r.bad && one.n > 0 && str_eq(one, proto))
			return true;
	}
	return false;
}
