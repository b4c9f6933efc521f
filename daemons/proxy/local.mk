# SPDX-License-Identifier: Apache-2.0
# Most of the proxy is a library, so that unit tests drive it without a process.
noinst_LIBRARIES += libkvproxy.a
libkvproxy_a_SOURCES = \
	%D%/access_format.c %D%/access_format.h \
	%D%/access_log.c %D%/access_log.h \
	%D%/asked.c %D%/asked.h \
	%D%/authz_proto.c %D%/authz_proto.h \
	%D%/attach.c %D%/attach.h %D%/attach_state.c %D%/attach_state.h \
	%D%/barrier.c %D%/barrier.h \
	%D%/codec.h \
	%D%/codec_h1.c %D%/codec_h1.h %D%/codec_h1_in.c %D%/codec_h1_out.c \
	%D%/codec_h2.c %D%/codec_h2.h %D%/codec_h2_in.c %D%/codec_h2_out.c \
	%D%/codec_h2_alive.c %D%/codec_h2_rules.c %D%/codec_h2_tunnel.c \
	%D%/codec_tcp.c \
	%D%/conn.c %D%/conn.h \
	%D%/control.c %D%/control.h %D%/control_api.c %D%/control_int.h %D%/control_stats.c \
	%D%/cross_origin.c %D%/cross_origin.h \
	%D%/cpus.c %D%/cpus.h \
	%D%/doors.c %D%/doors.h \
	%D%/egress.c %D%/egress.h \
	%D%/ejection.c %D%/ejection.h \
	%D%/entry.c %D%/entry.h \
	%D%/fail.c %D%/fail.h \
	%D%/families.c %D%/families.h \
	%D%/fetch.c %D%/fetch.h \
	%D%/ext_authz.c %D%/ext_authz.h %D%/ext_authz_grpc.c %D%/ext_authz_grpc.h \
	%D%/forward.c %D%/forward.h \
	%D%/handover.c %D%/handover.h \
	%D%/upgrade.c %D%/upgrade.h \
	%D%/gate.c %D%/gate.h \
	%D%/grpc.c %D%/grpc.h \
	%D%/hash_key.c %D%/hash_key.h \
	%D%/headers.c %D%/headers.h \
	%D%/jwks.c %D%/jwks.h \
	%D%/listener.c %D%/listener.h \
	%D%/lookup.c %D%/lookup.h \
	%D%/mirror.c %D%/mirror.h \
	%D%/named.c %D%/named.h \
	%D%/overload.c %D%/overload.h %D%/overload_measure.c %D%/overload_worker.c \
	%D%/record.c %D%/record.h \
	%D%/reply.c %D%/reply.h \
	%D%/revoke.c %D%/revoke.h \
	%D%/secrets.c %D%/secrets.h \
	%D%/slab.c %D%/slab.h \
	%D%/sniff.c \
	%D%/stats.c %D%/stats.def %D%/stats.h %D%/stats_export.c %D%/stats_own.c \
	%D%/stats_rows.c %D%/stats_rows.h %D%/stats_table.h \
	%D%/step_authz.c %D%/step_connect.c %D%/step_fault.c %D%/step_head.c \
	%D%/step_match.c \
	%D%/step_pick.c %D%/step_record.c %D%/step_token.c \
	%D%/stream.c %D%/stream.h %D%/stream_fail.c \
	%D%/text.c %D%/text.h \
	%D%/tokens.c %D%/tokens.h \
	%D%/tube.c %D%/tube.h \
	%D%/tunnel.c %D%/tunnel.h \
	%D%/upstream.c %D%/upstream.h \
	%D%/websocket.c %D%/websocket.h \
	%D%/watch.c %D%/watch.h \
	%D%/worker.c %D%/worker.h
libkvproxy_a_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(NGHTTP2_CFLAGS)
KV_PROXY_LDADD = libkvproxy.a libkvcore.a libkvhttp.a libkvsnap.a $(KV_IPC_LDADD) $(MAXMINDDB_LIBS) $(PCRE2_LIBS) $(NGHTTP2_LIBS) -lm

sbin_PROGRAMS += kvmesh-proxy
kvmesh_proxy_SOURCES = %D%/main.c
kvmesh_proxy_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
kvmesh_proxy_LDADD = $(KV_PROXY_LDADD)
