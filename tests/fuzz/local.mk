# SPDX-License-Identifier: Apache-2.0
# Fuzz targets. A target NAME is a file fuzz_NAME.c with LLVMFuzzerTestOneInput, a folder
# corpus/NAME of seeds, and two lines below:
#     fuzz_programs += %D%/fuzz_NAME
#     %C%_fuzz_NAME_LDADD = $(KV_FUZZ_DRIVER) $(the libraries it needs)
# Plain build: replay.c is the main function, "make check" runs every file of the corpus once.
# configure CC=clang --enable-fuzzers --enable-sanitize: real libFuzzer programs; "make fuzz-NAME" runs
# one for FUZZ_SECONDS and adds what it finds to FUZZ_CORPUS.
fuzz_programs =

fuzz_programs += %D%/fuzz_yaml
%C%_fuzz_yaml_LDADD = $(KV_FUZZ_DRIVER) $(KV_DOC_LDADD)
fuzz_programs += %D%/fuzz_libconfig
%C%_fuzz_libconfig_LDADD = $(KV_FUZZ_DRIVER) $(KV_DOC_LDADD)
fuzz_programs += %D%/fuzz_json
%C%_fuzz_json_LDADD = $(KV_FUZZ_DRIVER) $(KV_DOC_LDADD)
fuzz_programs += %D%/fuzz_bind
%C%_fuzz_bind_LDADD = $(KV_FUZZ_DRIVER) $(KV_DOC_LDADD)
fuzz_programs += %D%/fuzz_h1_request
%C%_fuzz_h1_request_LDADD = $(KV_FUZZ_DRIVER) $(KV_HTTP_LIBS)
fuzz_programs += %D%/fuzz_h1_response
%C%_fuzz_h1_response_LDADD = $(KV_FUZZ_DRIVER) $(KV_HTTP_LIBS)
fuzz_programs += %D%/fuzz_h1_chunked
%C%_fuzz_h1_chunked_LDADD = $(KV_FUZZ_DRIVER) $(KV_HTTP_LIBS)
fuzz_programs += %D%/fuzz_url
%C%_fuzz_url_LDADD = $(KV_FUZZ_DRIVER) $(KV_HTTP_LIBS)
fuzz_programs += %D%/fuzz_spiffe
%C%_fuzz_spiffe_LDADD = $(KV_FUZZ_DRIVER) $(KV_IO_LDADD)
fuzz_programs += %D%/fuzz_protobuf
%C%_fuzz_protobuf_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
%C%_fuzz_protobuf_LDADD = $(KV_FUZZ_DRIVER) $(KV_IO_LDADD)
fuzz_programs += %D%/fuzz_proxy_protocol
%C%_fuzz_proxy_protocol_LDADD = $(KV_FUZZ_DRIVER) $(KV_IO_LDADD)
fuzz_programs += %D%/fuzz_sni
%C%_fuzz_sni_LDADD = $(KV_FUZZ_DRIVER) $(KV_IO_LDADD)
# The codec between fakes of this file: of the proxy's library nothing but codec_h2*.o is linked.
fuzz_programs += %D%/fuzz_h2_session
%C%_fuzz_h2_session_SOURCES = %D%/fuzz_h2_session.c %D%/h2_oracle.c %D%/h2_oracle.h
%C%_fuzz_h2_session_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(NGHTTP2_CFLAGS)
%C%_fuzz_h2_session_LDADD = $(KV_FUZZ_DRIVER) libkvproxy.a $(KV_HTTP_LIBS) $(KV_IO_LDADD) $(NGHTTP2_LIBS)
fuzz_programs += %D%/fuzz_regex
%C%_fuzz_regex_LDADD = $(KV_FUZZ_DRIVER) $(KV_CORE_LDADD)
fuzz_programs += %D%/fuzz_snap
%C%_fuzz_snap_LDADD = $(KV_FUZZ_DRIVER) $(KV_CORE_LDADD)
fuzz_programs += %D%/fuzz_countries
%C%_fuzz_countries_LDADD = $(KV_FUZZ_DRIVER) $(KV_CORE_LDADD)
fuzz_programs += %D%/fuzz_jwt
%C%_fuzz_jwt_LDADD = $(KV_FUZZ_DRIVER) $(KV_CORE_LDADD) $(KV_IO_LDADD)
fuzz_programs += %D%/fuzz_authz_answer
%C%_fuzz_authz_answer_LDADD = $(KV_FUZZ_DRIVER) libkvproxy.a $(KV_HTTP_LIBS) $(KV_IO_LDADD)
fuzz_programs += %D%/fuzz_ipc
%C%_fuzz_ipc_LDADD = $(KV_FUZZ_DRIVER) $(KV_IPC_LDADD)
fuzz_programs += %D%/fuzz_csr
%C%_fuzz_csr_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(OPENSSL_CFLAGS)
%C%_fuzz_csr_LDADD = $(KV_FUZZ_DRIVER) $(KV_CA_LDADD)
fuzz_programs += %D%/fuzz_workload_api
%C%_fuzz_workload_api_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
%C%_fuzz_workload_api_LDADD = $(KV_FUZZ_DRIVER) $(KV_CA_LDADD)

# ---- how they are built and run; nothing below changes for a new target -----------------------
FUZZ_SECONDS = 60
FUZZ_CORPUS = $(abs_top_builddir)/fuzz-corpus

check_PROGRAMS += $(fuzz_programs)
if FUZZERS
AM_CFLAGS += -fsanitize=fuzzer-no-link
KV_FUZZ_DRIVER = $(LIB_FUZZING_ENGINE)
else
check_LIBRARIES = %D%/libkvreplay.a
%C%_libkvreplay_a_SOURCES = %D%/replay.c
KV_FUZZ_DRIVER = %D%/libkvreplay.a
TESTS += $(fuzz_programs)
endif

fuzz-%: %D%/fuzz_%
	@mkdir -p $(FUZZ_CORPUS)/$*
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=20 -max_len=8192 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ_CORPUS)/$*- $(FUZZ_CORPUS)/$* $(srcdir)/tests/fuzz/corpus/$*

EXTRA_DIST += %D%/corpus %D%/fuzz.h %D%/fuzz_ca.h %D%/fuzz_doc.h %D%/fuzz_h1.h
