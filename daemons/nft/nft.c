/* SPDX-License-Identifier: Apache-2.0 */
/* nft: batches for the kernel's packet filter, see nft.h. Layer daemons/nft. */
#include "config.h"

#include <errno.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nft/nft.h"

#define KIND(what) "list " what " " NFT_FAMILY " " NFT_TABLE
#define LIST_TABLE KIND("table")
#define LIST_COUNTERS KIND("counters table")

static void free_context(struct nft_ctx **ctx)
{
	if (*ctx)
		nft_ctx_free(*ctx);
}

/* libnftables ends the program where the kernel has no netfilter at all. */
static int look_for_netfilter(struct err *err)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0)
		return err_set(err, -EOPNOTSUPP, "this kernel has no netfilter: %s", err_code_name(-errno));
	close(fd);
	return 0;
}

static struct nft_ctx *new_context(bool json, struct err *err)
{
	if (look_for_netfilter(err) < 0)
		return NULL;
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);

	if (!ctx || nft_ctx_buffer_output(ctx) != 0 || nft_ctx_buffer_error(ctx) != 0) {
		err_set(err, -ENOMEM, "libnftables could not be set up");
		if (ctx)
			nft_ctx_free(ctx);
		return NULL;
	}
	if (json)
		nft_ctx_output_set_flags(ctx, NFT_CTX_OUTPUT_JSON);
	return ctx;
}

/* errno is not what the kernel said: other calls came after it. */
static int code_of(struct str line)
{
	static const int codes[] = { ENOENT, EPERM, EOPNOTSUPP, EBUSY };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (str_find_str(line, str_c(strerror(codes[i]))) >= 0)
			return codes[i] == ENOENT ? KV_ERR_NOT_FOUND : -codes[i];
	return -EIO;
}

/* nft's own messages are several lines with carets: the first says what it is. */
static int failed(struct nft_ctx *ctx, struct err *err)
{
	struct str rest = str_c(nft_ctx_get_error_buffer(ctx)), line = STR("no reason given");

	str_split(&rest, '\n', &line);
	ptrdiff_t at = str_find_str(line, STR("Error: "));

	if (at >= 0)
		line = str_skip(line, (size_t)at + 7);
	return err_set(err, code_of(line), "nftables: %.*s", STR_ARG(line));
}

static int run(struct nft_ctx *ctx, const char *text, struct err *err)
{
	if (nft_run_cmd_from_buffer(ctx, text) == 0)
		return 0;
	return failed(ctx, err);
}

static int run_batch(struct str batch, bool dry, struct err *err)
{
	_cleanup_(free_context) struct nft_ctx *ctx = new_context(str_has_prefix(batch, STR("{")), err);
	_cleanup_free_ char *text = kv_asprintf("%.*s", STR_ARG(batch));

	if (!ctx)
		return err ? err->code : -EIO;
	nft_ctx_set_dry_run(ctx, dry);
	return run(ctx, text, err);
}

int nft_run(struct str batch, struct err *err)
{
	return run_batch(batch, false, err);
}

int nft_try(struct str batch, struct err *err)
{
	return run_batch(batch, true, err);
}

static int list(const char *command, bool json, struct arena *a, struct str *ret, struct err *err)
{
	_cleanup_(free_context) struct nft_ctx *ctx = new_context(json, err);

	if (!ctx)
		return err ? err->code : -EIO;
	int r = run(ctx, command, err);

	if (r == 0)
		*ret = arena_str(a, str_c(nft_ctx_get_output_buffer(ctx)));
	return r;
}

int nft_list_table(struct arena *a, struct str *ret_json, struct err *err)
{
	return list(LIST_TABLE, true, a, ret_json, err);
}

int nft_list_counters(struct arena *a, struct str *ret_json, struct err *err)
{
	return list(LIST_COUNTERS, true, a, ret_json, err);
}

int nft_list_counters_of(const char *table, struct arena *a, struct str *ret_json, struct err *err)
{
	struct str command = arena_printf(a, "list counters table " NFT_FAMILY " %s", table);

	return list(command.p, true, a, ret_json, err);
}

int nft_show_table(struct arena *a, struct str *ret_text, struct err *err)
{
	return list(LIST_TABLE, false, a, ret_text, err);
}
