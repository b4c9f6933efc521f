/* SPDX-License-Identifier: Apache-2.0 */
/* The access log: golden lines, formats of users, hostile bytes, full rings and disks. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "io/loop.h"
#include "proxy/access_log.h"
#include "unit.h"
#include "until.h"

static char dir[] = "/tmp/kvmesh-access-XXXXXX";
static char path[128];
static struct loop *loop;
static struct access_log_writer *writer;

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/access.log", dir);
	loop = loop_new();
	writer = access_log_writer_new(loop, 2);
}

static void teardown(void)
{
	access_log_writer_free(writer);
	loop_free(loop);
	unlink(path);
	rmdir(dir);
}

static void configure(const char *where, bool json, const char *format)
{
	struct err err = { 0 };
	int r = access_log_configure(writer, str_c(where), json, str_c(format), &err);

	ck_assert_msg(r == 0, "%s", err.text);
}

static char *read_log(void)
{
	char *text;
	size_t n;

	ck_assert_int_eq(fs_read(path, 64u << 20, &text, &n, NULL), 0);
	return text;
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static bool has_lines(void *arg)
{
	char *text = read_log();
	bool enough = count_lines(text) >= *(size_t *)arg;

	free(text);
	return enough;
}

static void wait_lines(size_t n)
{
	run_until(loop, has_lines, &n);
}

static struct sock_addr addr(const char *host, uint16_t port)
{
	struct sock_addr a;

	ck_assert(sock_addr_parse(str_c(host), port, &a));
	return a;
}

static struct record request(void)
{
	return (struct record){
		.reporter = RECORD_SOURCE,
		.protocol = RECORD_HTTP,
		.destination_principal = STR("spiffe://cluster.local/ns/default/sa/my-app"),
		.tls_version = "TLSv1.3",
		.mutual = true,
		.method = STR("GET"),
		.path = STR("/cart?id=7"),
		.authority = STR("my-app"),
		.request_id = STR("6ce9c9d2-2f5f-4a3c-8d2b-4bd9e5a0c7d1"),
		.user_agent = STR("curl/7.88.1"),
		.version = HEAD_VERSION_11,
		.route_name = STR("default"),
		.cluster = STR("outbound|80|v1|my-app.default.svc.cluster.local"),
		.down_local = addr("127.0.0.1", 15080),
		.down_remote = addr("127.0.0.1", 40000),
		.up_local = addr("127.0.0.1", 40002),
		.up_remote = addr("127.0.0.1", 15443),
		.tries = 1,
		.status = 200,
		.grpc_status = -1,
		.bytes_received = 0,
		.bytes_sent = 1234,
		.start_us = 1000000,
		.up_first_us = 1000200,
		.up_head_us = 1011300,
		.end_us = 1012999,
		.start_real_us = 1606816800123000,
	};
}

static void add(const struct record *r)
{
	ck_assert(access_log_is_on(access_log_ring(writer, 0)));
	ck_assert(access_log_add(access_log_ring(writer, 0), r));
}

/* What one record looks like in the file. */
static void check_line(bool json, const char *format, const struct record *r, const char *expected)
{
	setup();
	configure(path, json, format);
	add(r);
	wait_lines(1);
	char *text = read_log();

	ck_assert_str_eq(text, expected);
	free(text);
	teardown();
}

START_TEST(the_default_line_is_istios)
{
	struct record r = request();

	check_line(false, "", &r,
		   "[2020-12-01T10:00:00.123Z] \"GET /cart?id=7 HTTP/1.1\" 200 - via_upstream - "
		   "\"-\" 0 1234 12 11 \"-\" "
		   "\"curl/7.88.1\" \"6ce9c9d2-2f5f-4a3c-8d2b-4bd9e5a0c7d1\" \"my-app\" "
		   "\"127.0.0.1:15443\" "
		   "outbound|80|v1|my-app.default.svc.cluster.local 127.0.0.1:40002 "
		   "127.0.0.1:15080 127.0.0.1:40000 - "
		   "default\n");
}
END_TEST

START_TEST(a_failure_says_why)
{
	struct record r = request();

	r.status = 503;
	r.fail = FAIL_CONNECT;
	r.retry_limit = true;
	r.up_first_us = r.up_head_us = 0;
	r.up_local.len = 0;
	r.original_path = STR("/before");
	r.forwarded_for = STR("10.1.2.3");
	r.transport_failure = STR("TLS error: certificate verify failed");
	check_line(
		false,
		"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% "
		"\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
		"\"%REQ(X-FORWARDED-FOR)%\" %UPSTREAM_LOCAL_ADDRESS%",
		&r,
		"/before 503 UF,URX \"TLS error: certificate verify failed\" - \"10.1.2.3\" -\n");
}
END_TEST

START_TEST(a_tcp_connection_has_no_request)
{
	struct record r = request();

	r.protocol = RECORD_TCP;
	r.method = r.path = r.authority = r.request_id = r.user_agent = STR_NULL;
	r.status = 0;
	r.sni = STR("outbound_.6379_._.redis.default.svc.cluster.local");
	r.up_head_us = 0;
	r.details = "idle timeout";
	check_line(false, "", &r,
		   "[2020-12-01T10:00:00.123Z] \"- - -\" 0 - - idle_timeout \"-\" 0 1234 12 - "
		   "\"-\" \"-\" \"-\" \"-\" "
		   "\"127.0.0.1:15443\" outbound|80|v1|my-app.default.svc.cluster.local "
		   "127.0.0.1:40002 127.0.0.1:15080 "
		   "127.0.0.1:40000 outbound_.6379_._.redis.default.svc.cluster.local default\n");
}
END_TEST

START_TEST(json_has_istios_keys_and_types)
{
	struct record r = request();

	check_line(
		true, "", &r,
		"{\"start_time\":\"2020-12-01T10:00:00.123Z\",\"method\":\"GET\",\"path\":\"/"
		"cart?id=7\","
		"\"protocol\":\"HTTP/1.1\",\"response_code\":200,\"response_flags\":\"-\","
		"\"response_code_details\":\"via_upstream\",\"connection_termination_details\":"
		"null,"
		"\"upstream_transport_failure_reason\":null,\"bytes_received\":0,\"bytes_sent\":"
		"1234,"
		"\"duration\":12,\"upstream_service_time\":11,\"x_forwarded_for\":null,"
		"\"user_agent\":\"curl/"
		"7.88.1\",\"request_id\":\"6ce9c9d2-2f5f-4a3c-8d2b-4bd9e5a0c7d1\","
		"\"authority\":\"my-app\",\"upstream_host\":\"127.0.0.1:15443\","
		"\"upstream_cluster\":\"outbound|80|v1|my-app.default.svc.cluster.local\","
		"\"upstream_local_address\":\"127.0.0.1:40002\",\"downstream_local_address\":\"127."
		"0.0.1:15080\","
		"\"downstream_remote_address\":\"127.0.0.1:40000\",\"requested_server_name\":null,"
		"\"route_name\":\"default\",\"tls_version\":\"TLSv1.3\","
		"\"peer_principal\":\"spiffe://cluster.local/ns/default/sa/my-app\"}\n");
}
END_TEST

START_TEST(a_json_format_of_ones_own)
{
	struct record r = request();

	check_line(true,
		   "{\"code\": \"%RESPONSE_CODE%\", \"what\": \"%REQ(:METHOD)% %REQ(:PATH):5% "
		   "100%%\"}",
		   &r, "{\"code\":200,\"what\":\"GET /cart 100%\"}\n");
}
END_TEST

START_TEST(hostile_bytes_stay_in_their_field)
{
	struct record r = request();

	r.path = STR("/a\" 200 -\n[2020-12-01T10:00:00.123Z] \"GET /fake");
	r.user_agent = STR("\x1b[31mred\\");
	r.sni = STR("one two\xff");
	check_line(false, "\"%REQ(:PATH)%\" \"%REQ(USER-AGENT)%\" %REQUESTED_SERVER_NAME% end", &r,
		   "\"/a\\x22 200 -\\x0a[2020-12-01T10:00:00.123Z] \\x22GET /fake\" "
		   "\"\\x1b[31mred\\x5c\" "
		   "one\\x20two\\xff end\n");
}
END_TEST

START_TEST(hostile_bytes_in_json)
{
	struct record r = request();

	r.path = STR("/\",\"x\":\"\n\x1b\xff\xc3\xa9");
	check_line(true, "{\"path\": \"%REQ(:PATH)%\"}", &r,
		   "{\"path\":\"/\\\",\\\"x\\\":\\\"\\u000a\\u001b\\\\xff\\u00e9\"}\n");
}
END_TEST

START_TEST(bad_formats_are_named)
{
	static const struct {
		bool json;
		const char *format, *says;
	} cases[] = {
		{ false, "%NO_SUCH%", "%NO_SUCH% is not an operator" },
		{ false, "%REQ(X-SECRET)%", "%REQ(X-SECRET)% is not an operator" },
		{ false, "%REQ(:PATH):0%", "no length" },
		{ false, "100%", "second one" },
		{ true, "[1]", "object" },
		{ true, "{\"a\": 1}", "\"a\" is not a string" },
		{ true, "{\"a\"", "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = { 0 };

		ck_assert_int_lt(access_log_check(cases[i].json, str_c(cases[i].format), &err), 0);
		ck_assert_msg(strstr(err.text, cases[i].says), "%s: %s", cases[i].format, err.text);
	}
}
END_TEST

START_TEST(an_error_changes_nothing)
{
	struct record r = request();
	struct err err;

	setup();
	configure(path, false, "%RESPONSE_CODE%");
	ck_assert_int_lt(access_log_configure(writer, str_c(path), false, STR("%NO%"), &err), 0);
	ck_assert_int_eq(access_log_configure(writer, STR("/nowhere/at/all"), false, STR(""), &err),
			 -ENOENT);
	add(&r);
	wait_lines(1);
	char *text = read_log();

	ck_assert_str_eq(text, "200\n");
	free(text);
	teardown();
}
END_TEST

START_TEST(off_and_on_again)
{
	struct record r = request();

	setup();
	ck_assert(!access_log_is_on(access_log_ring(writer, 1)));
	configure(path, false, "%RESPONSE_CODE%");
	add(&r);
	configure("", false, "");               /* what was there is written first */
	ck_assert(!access_log_is_on(access_log_ring(writer, 0)));
	wait_lines(1);
	configure(path, false, "again");
	add(&r);
	wait_lines(2);
	char *text = read_log();

	ck_assert_str_eq(text, "200\nagain\n");
	free(text);
	teardown();
}
END_TEST

START_TEST(a_rotated_file_is_opened_anew)
{
	struct record r = request();
	char moved[160];

	setup();
	configure(path, false, "%RESPONSE_CODE%");
	add(&r);
	wait_lines(1);
	snprintf(moved, sizeof(moved), "%s.1", path);
	ck_assert_int_eq(rename(path, moved), 0);
	access_log_reopen(writer);
	r.status = 404;
	add(&r);
	wait_lines(1);
	char *text = read_log();

	ck_assert_str_eq(text, "404\n");
	free(text);
	unlink(moved);
	teardown();
}
END_TEST

START_TEST(a_full_ring_drops)
{
	struct record r = request();
	size_t written = 0;
	char big[2048];

	setup();
	memset(big, 'x', sizeof(big));
	r.path = str_from(big, sizeof(big));
	configure(path, false, "%REQ(:PATH)%");
	while (access_log_add(access_log_ring(writer, 0), &r))  /* nobody reads */
		written++;
	ck_assert_uint_gt(written, 100);
	ck_assert_uint_lt(written, ACCESS_LOG_RING_BYTES / sizeof(big));
	/* the other worker's ring is its own */
	ck_assert(access_log_add(access_log_ring(writer, 1), &r));
	wait_lines(written + 1);
	/* room again */
	add(&r);
	wait_lines(written + 2);
	ck_assert_uint_eq(access_log_lost(writer), 0);
	teardown();
}
END_TEST

static bool some_are_lost(void *arg)
{
	return access_log_lost(writer) >= *(uint64_t *)arg;
}

START_TEST(a_full_disk_loses_lines_and_counts_them)
{
	struct record r = request();
	uint64_t n = 3;

	setup();
	configure("/dev/full", false, "");
	for (uint64_t i = 0; i < n; i++)
		add(&r);
	run_until(loop, some_are_lost, &n);
	ck_assert_uint_eq(access_log_lost(writer), n);
	teardown();
}
END_TEST

/* A pipe whose reader sleeps: the loop goes on, the ring fills, nothing is torn. */
START_TEST(a_slow_reader_blocks_nobody)
{
	struct record r = request();
	int p[2], out;
	size_t taken = 0, got = 0;
	static char buf[4u << 20];

	setup();
	ck_assert_int_eq(pipe(p), 0);
	fflush(stdout);
	out = dup(STDOUT_FILENO);
	dup2(p[1], STDOUT_FILENO);
	configure("/dev/stdout", false, "%REQ(:PATH)% end");
	dup2(out, STDOUT_FILENO);
	close(p[1]);
	close(out);
	/* far more than a pipe and the pending lines take */
	for (unsigned turn = 0; turn < 20; turn++) {
		size_t none = 0;

		while (access_log_add(access_log_ring(writer, 0), &r))
			taken++;
		ck_assert_int_eq(fs_write(path, "", 0, 0600, NULL), 0);
		wait_lines(none);
	}
	access_log_writer_free(
		writer); /* what does not fit now is lost, with the last line whole or torn */
	for (ssize_t n; got < sizeof(buf) && (n = read(p[0], buf + got, sizeof(buf) - got)) > 0; )
		got += (size_t)n;
	ck_assert_uint_gt(got, 4096);
	for (size_t i = 0, start = 0; i < got; i++)
		if (buf[i] == '\n') {
			ck_assert_uint_eq(i - start, strlen("/cart?id=7 end"));
			ck_assert_int_eq(memcmp(buf + start, "/cart?id=7 end", i - start), 0);
			start = i + 1;
		}
	close(p[0]);
	loop_free(loop);
	unlink(path);
	rmdir(dir);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------- */

#define PER_THREAD 20000

static void *produce(void *arg)
{
	struct access_log *ring = arg;
	struct record r = request();
	uintptr_t dropped = 0;

	for (unsigned i = 0; i < PER_THREAD; i++) {
		r.bytes_sent = i;
		dropped += !access_log_add(ring, &r);
	}
	return (void *)dropped;
}

static bool is_joined(void *arg)
{
	return atomic_load((atomic_int *)arg) == 2;
}

struct producer {
	pthread_t thread;
	struct access_log *ring;
	uintptr_t dropped;
	atomic_int *done;
};

static void *producer(void *arg)
{
	struct producer *p = arg;

	p->dropped = (uintptr_t)produce(p->ring);
	atomic_fetch_add(p->done, 1);
	return NULL;
}

START_TEST(two_workers_write_while_the_log_is_drained)
{
	static atomic_int done;
	struct producer p[2];

	setup();
	configure(path, false, "%BYTES_SENT% %REQ(:METHOD)%");
	for (size_t i = 0; i < 2; i++) {
		p[i] = (struct producer){ .ring = access_log_ring(writer, i), .done = &done };
		ck_assert_int_eq(pthread_create(&p[i].thread, NULL, producer, &p[i]), 0);
	}
	run_until(loop, is_joined, &done);
	for (size_t i = 0; i < 2; i++)
		pthread_join(p[i].thread, NULL);
	wait_lines(2 * PER_THREAD - p[0].dropped - p[1].dropped);
	char *text = read_log();

	ck_assert_uint_eq(count_lines(text), 2 * PER_THREAD - p[0].dropped - p[1].dropped);
	free(text);
	teardown();
}
END_TEST

UNIT_MAIN("access_log", the_default_line_is_istios, a_failure_says_why,
	  a_tcp_connection_has_no_request, json_has_istios_keys_and_types,
	  a_json_format_of_ones_own, hostile_bytes_stay_in_their_field, hostile_bytes_in_json,
	  bad_formats_are_named, an_error_changes_nothing, off_and_on_again,
	  a_rotated_file_is_opened_anew, a_full_ring_drops, a_full_disk_loses_lines_and_counts_them,
	  a_slow_reader_blocks_nobody, two_workers_write_while_the_log_is_drained)
