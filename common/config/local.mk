# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvconfig.a
libkvconfig_a_SOURCES = \
	%D%/capture.c %D%/capture.h \
	%D%/check.c %D%/check.h \
	%D%/check_dr.c \
	%D%/check_fields.c \
	%D%/check_gw.c \
	%D%/check_match.c \
	%D%/check_mtls.c \
	%D%/check_net.c \
	%D%/check_probe.c \
	%D%/check_parts.h \
	%D%/check_policy.c \
	%D%/check_practice.c \
	%D%/check_refs.c \
	%D%/check_residency.c \
	%D%/check_rules.c \
	%D%/check_scopes.c \
	%D%/check_settings.c \
	%D%/check_values.c \
	%D%/check_vs.c \
	%D%/check_workloads.c \
	%D%/convert.c %D%/convert.h \
	%D%/compile.c %D%/compile.h \
	%D%/compile_action.c \
	%D%/compile_authorizer.c \
	%D%/compile_authz.c \
	%D%/compile_jwt.c \
	%D%/compile_cluster.c \
	%D%/compile_gateway.c \
	%D%/compile_gateway_l4.c \
	%D%/compile_headers.c \
	%D%/compile_inbound.c \
	%D%/compile_l4.c \
	%D%/compile_locality.c \
	%D%/compile_match.c \
	%D%/compile_parts.h \
	%D%/compile_peer.c \
	%D%/compile_policy.c \
	%D%/compile_retry.c \
	%D%/compile_route.c \
	%D%/compile_scope.c \
	%D%/compile_sidecar.c \
	%D%/compile_service.c \
	%D%/compile_target.c \
	%D%/compile_view.c \
	%D%/delegate.c %D%/delegate.h \
	%D%/inject.c %D%/inject.h \
	%D%/load.c %D%/load.h \
	%D%/load_canon.c \
	%D%/load_files.c \
	%D%/load_fill.c \
	%D%/load_capture.c \
	%D%/load_jwks.c \
	%D%/load_mesh.c \
	%D%/load_parts.h \
	%D%/load_resolve.c \
	%D%/load_split.c %D%/load_split.h \
	%D%/model.c %D%/model.h \
	%D%/model_enums.c \
	%D%/model_fields.h \
	%D%/model_fields_dr.c \
	%D%/model_fields_gw.c \
	%D%/model_fields_mesh.c \
	%D%/model_fields_mesh_proxy.c \
	%D%/model_fields_meta.c \
	%D%/model_fields_net.c \
	%D%/model_fields_policy.c \
	%D%/model_fields_telemetry.c \
	%D%/model_fields_vs.c \
	%D%/model_mesh.h \
	%D%/model_net.h \
	%D%/model_policy.h \
	%D%/model_resource.h \
	%D%/model_traffic.h \
	%D%/names.c %D%/names.h \
	%D%/names_gateway.c \
	%D%/names_host.c \
	%D%/names_policy.c \
	%D%/names_residency.c \
	%D%/names_sidecar.c \
	%D%/quantity.c %D%/quantity.h
KV_CONFIG_LIBS = libkvconfig.a libkvsnap.a $(KV_DOC_LIBS)
# Link with KV_CONFIG_LDADD; KV_CONFIG_LIBS is the archives alone.
KV_CONFIG_LDADD = libkvconfig.a libkvsnap.a $(KV_DOC_LDADD) $(MAXMINDDB_LIBS)
