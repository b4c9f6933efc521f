# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvca.a
libkvca_a_SOURCES = \
	%D%/acks.c %D%/acks.h \
	%D%/advance.c %D%/advance.h \
	%D%/attest.c %D%/attest.h \
	%D%/authority.c %D%/authority.h \
	%D%/ceremony.c %D%/ceremony.h \
	%D%/files.c %D%/files.h \
	%D%/grpc.c %D%/grpc.h \
	%D%/jwt_keys.c %D%/jwt_keys.h \
	%D%/jwt_svid.c %D%/jwt_svid.h \
	%D%/keystore.c %D%/keystore.h \
	%D%/ledger.c %D%/ledger.h \
	%D%/mint.c %D%/mint.h \
	%D%/ossl.c %D%/ossl.h \
	%D%/people.c %D%/people.h \
	%D%/policy.c %D%/policy.h \
	%D%/program.c %D%/program.h \
	%D%/rate.c %D%/rate.h \
	%D%/registry.c %D%/registry.h \
	%D%/report.c %D%/report.h \
	%D%/revoked.c %D%/revoked.h \
	%D%/rotation.c %D%/rotation.h \
	%D%/sds.c %D%/sds.h \
	%D%/server.c %D%/server.h %D%/server_admin.c %D%/server_int.h \
	%D%/sign.c %D%/sign.h \
	%D%/svid.c %D%/svid.h \
	%D%/workload_api.c %D%/workload_api.h
libkvca_a_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(OPENSSL_CFLAGS) $(NGHTTP2_CFLAGS)
KV_CA_LDADD = libkvca.a $(KV_CORE_LDADD) $(KV_IPC_LDADD) $(OPENSSL_LIBS) $(SQLITE_LIBS) $(NGHTTP2_LIBS)

sbin_PROGRAMS += kvmesh-ca
kvmesh_ca_SOURCES = %D%/main.c
kvmesh_ca_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
kvmesh_ca_LDADD = $(KV_CA_LDADD)
