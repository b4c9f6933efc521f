/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: the field tables of kvmesh.conf: extension providers and the defaults of proxies.
 * Layer config. From them come reading, writing, the manual (explain) and the list of what is not
 * enforced yet.
 */
#include "config/model_fields.h"

#define T struct model_extension_provider
static const struct field extension_provider_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.8"),
	  .help = "Name by which it is referred to" },
	{ F_PTR(T, envoyExtAuthzHttp, model_ext_authz_http_table), ONEOF(1), P2, SINCE("1.8"),
	  .help = "External authorizer over HTTP" },
	{ F_PTR(T, zipkin, model_zipkin_table), ONEOF(1), P2, SINCE("1.10"),
	  NOT_YET("no provider of this kind is used yet"),
	  .help = "Tracer with Zipkin's protocol" },
	{ F_PTR(T, opentelemetry, model_opentelemetry_table), ONEOF(1), P2, SINCE("1.16"),
	  NOT_YET("no provider of this kind is used yet"),
	  .help = "Tracer with OTLP" },
	{ F_ANY(T, prometheus), ONEOF(1), P2, SINCE("1.11"),
	  NOT_YET("no provider of this kind is used yet"),
	  .help = "Prometheus' metrics" },
	{ F_PTR(T, envoyFileAccessLog, model_file_access_log_table), ONEOF(1), P2, SINCE("1.11"),
	  NOT_YET("no provider of this kind is used yet"),
	  .help = "Access log into a file" },
	{ F_PTR(T, envoyExtAuthzGrpc, model_ext_authz_grpc_table), ONEOF(1), P3, SINCE("1.8"),
	  .help = "External authorizer over gRPC" },
	{ F_ANY(T, refused), .name = "lightstep", ONEOF(1), P3, SINCE("1.10"),
	  REFUSED("the vendor's protocol is not spoken; use opentelemetry"),
	  .help = "Lightstep's tracer" },
	{ F_ANY(T, refused), .name = "datadog", ONEOF(1), P3, SINCE("1.10"),
	  REFUSED("the vendor's protocol is not spoken; use opentelemetry"),
	  .help = "Datadog's tracer" },
	{ F_ANY(T, refused), .name = "stackdriver", ONEOF(1), P3, SINCE("1.10"),
	  REFUSED("the vendor's protocol is not spoken; use opentelemetry"),
	  .help = "Stackdriver's tracer" },
	{ F_ANY(T, refused), .name = "opencensus", ONEOF(1), P3, SINCE("1.10"),
	  REFUSED("the protocol is not spoken; use opentelemetry"),
	  .help = "OpenCensus' tracer" },
	{ F_ANY(T, refused), .name = "skywalking", ONEOF(1), P3, SINCE("1.11"),
	  REFUSED("the protocol is not spoken; use opentelemetry"),
	  .help = "SkyWalking's tracer" },
	{ F_ANY(T, refused), .name = "envoyHttpAls", ONEOF(1), P3, SINCE("1.13"),
	  REFUSED("Envoy's own protocol"),
	  .help = "Access log over Envoy's gRPC protocol" },
	{ F_ANY(T, refused), .name = "envoyTcpAls", ONEOF(1), P3, SINCE("1.13"),
	  REFUSED("Envoy's own protocol"),
	  .help = "Access log over Envoy's gRPC protocol" },
	{ F_ANY(T, refused), .name = "envoyOtelAls", ONEOF(1), P3, SINCE("1.13"),
	  REFUSED("Envoy's own protocol"),
	  .help = "Access log over OTLP" },
	{ F_ANY(T, refused), .name = "sds", ONEOF(1), P3, SINCE("1.27"),
	  REFUSED("Envoy's own protocol"),
	  .help = "Secrets over Envoy's protocol" },
	F_END
};
const struct bind_table model_extension_provider_table =
	TABLE_AT("ExtensionProvider", extension_provider_fields);
#undef T

#define T struct model_ext_authz
static const struct field ext_authz_http_fields[] = {
	{ F_STR(T, service), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.8"),
	  .help = "Service that decides: [namespace/]host" },
	{ F_INT(T, port, 1, 65535), .flags = FIELD_REQUIRED, P2, SINCE("1.8"),
	  .help = "Its port" },
	{ F_TIME(T, timeout), P2, SINCE("1.10"),
	  .help = "Time for an answer (default 600s)" },
	{ F_STR(T, pathPrefix), P2, SINCE("1.8"),
	  .help = "Put before the path of the question" },
	{ F_BOOL(T, failOpen), P2, SINCE("1.8"),
	  .help = "Allow when the service does not answer (default false)" },
	{ F_STR(T, statusOnError), P2, SINCE("1.8"),
	  .help = "Status when the service does not answer (default 403)" },
	{ F_STR_LIST(T, includeHeadersInCheck), P3, SINCE("1.8"),
	  .help = "Old form of includeRequestHeadersInCheck" },
	{ F_STR_LIST(T, includeRequestHeadersInCheck), P2, SINCE("1.10"),
	  .help = "Request headers that it gets" },
	{ F_LABELS(T, includeAdditionalHeadersInCheck), P2, SINCE("1.10"),
	  .help = "Further headers that it gets" },
	{ F_PTR(T, includeRequestBodyInCheck, model_check_body_table), P2, SINCE("1.10"),
	  .help = "How much of the body it gets" },
	{ F_STR_LIST(T, headersToUpstreamOnAllow), P2, SINCE("1.8"),
	  .help = "Headers of its answer that go to the workload" },
	{ F_STR_LIST(T, headersToDownstreamOnDeny), P2, SINCE("1.8"),
	  .help = "Headers of its answer that go to the client on refusal" },
	{ F_STR_LIST(T, headersToDownstreamOnAllow), P2, SINCE("1.14"),
	  .help = "Headers of its answer that go to the client" },
	{ F_BOOL(T, clearRouteCache), P3, SINCE("1.25"),
	  IGNORED("the route is always chosen after the answer"),
	  .help = "Choose the route again" },
	F_END
};
const struct bind_table model_ext_authz_http_table =
	TABLE("EnvoyExternalAuthorizationHttpProvider", ext_authz_http_fields);

static const struct field ext_authz_grpc_fields[] = {
	{ F_STR(T, service), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P3, SINCE("1.8"),
	  .help = "Service that decides: [namespace/]host" },
	{ F_INT(T, port, 1, 65535), .flags = FIELD_REQUIRED, P3, SINCE("1.8"),
	  .help = "Its port" },
	{ F_TIME(T, timeout), P3, SINCE("1.10"),
	  .help = "Time for an answer (default 600s)" },
	{ F_BOOL(T, failOpen), P3, SINCE("1.8"),
	  .help = "Allow when the service does not answer (default false)" },
	{ F_STR(T, statusOnError), P3, SINCE("1.8"),
	  .help = "Status when the service does not answer (default 403)" },
	{ F_PTR(T, includeRequestBodyInCheck, model_check_body_table), P3, SINCE("1.10"),
	  .help = "How much of the body it gets" },
	{ F_BOOL(T, clearRouteCache), P3, SINCE("1.25"),
	  IGNORED("the route is always chosen after the answer"),
	  .help = "Choose the route again" },
	F_END
};
const struct bind_table model_ext_authz_grpc_table =
	TABLE("EnvoyExternalAuthorizationGrpcProvider", ext_authz_grpc_fields);
#undef T

#define T struct model_check_body
static const struct field check_body_fields[] = {
	{ F_INT(T, maxRequestBytes, 0, UINT32_MAX), P2, SINCE("1.10"),
	  .help = "Bytes of the body at most" },
	{ F_BOOL(T, allowPartialMessage), P2, SINCE("1.10"),
	  .help = "Send the beginning of a longer body" },
	{ F_BOOL(T, packAsBytes), P3, SINCE("1.10"),
	  .help = "Over gRPC: send it as bytes (default: as text)" },
	F_END
};
const struct bind_table model_check_body_table =
	TABLE("EnvoyExternalAuthorizationRequestBody", check_body_fields);
#undef T

#define T struct model_zipkin
static const struct field zipkin_fields[] = {
	{ F_STR(T, service), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.10"),
	  .help = "Service that takes spans" },
	{ F_INT(T, port, 1, 65535), .flags = FIELD_REQUIRED, P2, SINCE("1.10"),
	  .help = "Its port" },
	{ F_INT(T, maxTagLength, 0, UINT32_MAX), P2, SINCE("1.10"),
	  .help = "Longest tag (default 256)" },
	{ F_BOOL(T, enable64bitTraceId), P2, SINCE("1.18"),
	  .help = "Trace identifiers of 64 bits (default false)" },
	{ F_STR(T, path), P2, SINCE("1.24"),
	  .help = "Path for spans (default /api/v2/spans)" },
	{ F_ENUM(T, traceContextOption, model_zipkin_context_names), P2, SINCE("1.28"),
	  .help = "Trace headers that are understood (default USE_B3)" },
	{ F_TIME(T, timeout), P3, SINCE("1.29"),
	  .help = "Time for an answer (default 5s)" },
	{ F_LIST(T, headers, model_http_header_table), P3, SINCE("1.29"),
	  .help = "Further headers" },
	F_END
};
const struct bind_table model_zipkin_table = TABLE("ZipkinTracingProvider", zipkin_fields);
#undef T

#define T struct model_opentelemetry
static const struct field opentelemetry_fields[] = {
	{ F_STR(T, service), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.16"),
	  .help = "Service that takes spans" },
	{ F_INT(T, port, 1, 65535), .flags = FIELD_REQUIRED, P2, SINCE("1.16"),
	  .help = "Its port" },
	{ F_INT(T, maxTagLength, 0, UINT32_MAX), P2, SINCE("1.16"),
	  .help = "Longest tag (default 256)" },
	{ F_PTR(T, http, model_otel_http_table), ONEOF(1), P2, SINCE("1.22"),
	  .help = "OTLP over HTTP" },
	{ F_PTR(T, grpc, model_otel_grpc_table), ONEOF(1), P2, SINCE("1.24"),
	  .help = "OTLP over gRPC" },
	{ F_ANY(T, resourceDetectors), P3, SINCE("1.22"),
	  NOT_YET("no resource attributes are found out yet"),
	  .help = "Find out attributes of the machine" },
	{ F_ANY(T, refused), .name = "dynatraceSampler", P3, SINCE("1.22"),
	  REFUSED("the vendor's sampler is not implemented"),
	  .help = "Dynatrace's sampler" },
	{ F_ANY(T, serviceAttributeEnrichment), P3, SINCE("1.30"),
	  NOT_YET("Istio's canonical names are used"),
	  .help = "Which service attributes spans carry" },
	F_END
};
const struct bind_table model_opentelemetry_table =
	TABLE("OpenTelemetryTracingProvider", opentelemetry_fields);
#undef T

#define T struct model_otel_http
static const struct field otel_http_fields[] = {
	{ F_STR(T, path), P2, SINCE("1.22"),
	  .help = "Path for spans" },
	{ F_TIME(T, timeout), P2, SINCE("1.22"),
	  .help = "Time for an answer" },
	{ F_LIST(T, headers, model_http_header_table), P2, SINCE("1.22"),
	  .help = "Further headers" },
	F_END
};
const struct bind_table model_otel_http_table = TABLE("HttpService", otel_http_fields);
#undef T

#define T struct model_otel_grpc
static const struct field otel_grpc_fields[] = {
	{ F_TIME(T, timeout), P2, SINCE("1.24"),
	  .help = "Time for an answer" },
	{ F_LIST(T, initialMetadata, model_http_header_table), P2, SINCE("1.24"),
	  .help = "Further headers" },
	F_END
};
const struct bind_table model_otel_grpc_table = TABLE("GrpcService", otel_grpc_fields);
#undef T

#define T struct model_http_header
static const struct field http_header_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.22"),
	  .help = "Name of the header" },
	{ F_STR(T, value), ONEOF(1), P2, SINCE("1.22"),
	  .help = "Value of the header" },
	{ F_STR(T, envName), ONEOF(1), P2, SINCE("1.26"),
	  .help = "Variable of the environment with the value" },
	F_END
};
const struct bind_table model_http_header_table = TABLE("HttpHeader", http_header_fields);
#undef T

#define T struct model_file_access_log
static const struct field file_access_log_fields[] = {
	{ F_STR(T, path), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.11"),
	  .help = "/dev/stdout or a file" },
	{ F_PTR(T, logFormat, model_log_format_table), P2, SINCE("1.13"),
	  .help = "Format of the lines" },
	{ F_BOOL(T, omitEmptyValues), P3, SINCE("1.26"),
	  .help = "Leave out what is empty (default false)" },
	F_END
};
const struct bind_table model_file_access_log_table =
	TABLE("EnvoyFileAccessLogProvider", file_access_log_fields);
#undef T

#define T struct model_log_format
static const struct field log_format_fields[] = {
	{ F_STR(T, text), ONEOF(1), P2, SINCE("1.13"),
	  .help = "Format with %OPERATORS%" },
	{ F_ANY(T, labels), ONEOF(1), P2, SINCE("1.13"),
	  .help = "JSON object with such formats" },
	F_END
};
const struct bind_table model_log_format_table = TABLE("LogFormat", log_format_fields);
#undef T

#define T struct model_proxy_config
static const struct field proxy_config_fields[] = {
	{ F_INT(T, concurrency, 0, 1024), P1, SINCE("1.8"),
	  .help = "Worker threads; 0: as many as the CPU quota allows (default 0)" },
	{ F_TIME(T, drainDuration), P1, SINCE("1.8"),
	  NOT_YET("limits.drainTimeout is used"),
	  .help = "Time for old connections after a reload (default 45s)" },
	{ F_TIME(T, terminationDrainDuration), P1, SINCE("1.8"),
	  NOT_YET("limits.drainTimeout is used"),
	  .help = "Time for connections to end when the proxy stops (default 5s)" },
	{ F_INT(T, statusPort, 0, 65535), P1, SINCE("1.8"),
	  IGNORED("see node.readyPort and metrics.listen"),
	  .help = "Port for health and metrics" },
	{ F_INT(T, proxyAdminPort, 0, 65535), P2, SINCE("1.8"),
	  IGNORED("the proxy is asked through its control socket"),
	  .help = "Envoy's admin port" },
	{ F_BOOL(T, holdApplicationUntilProxyStarts), P1, SINCE("1.8"),
	  IGNORED("an injected unit always starts after its proxy"),
	  .help = "Start the application after its proxy" },
	{ F_ENUM(T, interceptionMode, model_interception_names), P2, SINCE("1.8"),
	  .help = "REDIRECT, TPROXY or NONE (default REDIRECT)" },
	{ F_ENUM(T, tracingServiceName, model_tracing_name_names), P2, SINCE("1.13"),
	  NOT_YET("no spans are made yet"),
	  .help = "How the own service is named in spans" },
	{ F_PTR(T, gatewayTopology, model_gateway_topology_table), P1, SINCE("1.8"),
	  NOT_YET("there are no gateways yet"),
	  .help = "Trusted proxies before the gateways" },
	{ F_PTR(T, readinessProbe, model_probe_table), P1, SINCE("1.8"),
	  NOT_YET("a unit counts as healthy while it is active"),
	  .help = "Health check of the application" },
	{ F_STR(T, statsdUdpAddress), P2, SINCE("1.8"),
	  NOT_YET("metrics are served for Prometheus"),
	  .help = "Send statistics to statsd" },
	{ F_STR(T, meshId), P2, SINCE("1.8"),
	  NOT_YET("the trust domain is the name of the mesh"),
	  .help = "Name of the mesh" },
	{ F_STR_LIST(T, extraStatTags), P2, SINCE("1.8"),
	  NOT_YET("metrics have Istio's standard labels"),
	  .help = "Further labels of metrics" },
	{ F_STR_LIST(T, caCertificatesPem), P2, SINCE("1.10"),
	  NOT_YET("only the mesh's own authority is trusted"),
	  .help = "Further roots of the control plane" },
	{ F_ANY(T, tracing), P2, SINCE("1.8"),
	  NOT_YET("no spans are made yet"),
	  .help = "Tracer and sampling" },
	{ F_ANY(T, proxyHeaders), P2, SINCE("1.19"),
	  NOT_YET("headers are as Istio sets them by default"),
	  .help = "Which headers the proxy adds" },
	{ F_ANY(T, unused), .name = "configPath", P3, SINCE("1.8"),
	  IGNORED("Envoy's bootstrap"),
	  .help = "Envoy's bootstrap" },
	{ F_ANY(T, unused), .name = "binaryPath", P3, SINCE("1.8"),
	  IGNORED("Envoy's bootstrap"),
	  .help = "Envoy's bootstrap" },
	{ F_ANY(T, unused), .name = "customConfigFile", P3, SINCE("1.8"),
	  IGNORED("Envoy's bootstrap"),
	  .help = "Envoy's bootstrap" },
	{ F_ANY(T, unused), .name = "proxyBootstrapTemplatePath", P3, SINCE("1.8"),
	  IGNORED("Envoy's bootstrap"),
	  .help = "Envoy's bootstrap" },
	{ F_ANY(T, unused), .name = "serviceCluster", P3, SINCE("1.8"),
	  IGNORED("Envoy's bootstrap"),
	  .help = "Envoy's bootstrap" },
	{ F_ANY(T, unused), .name = "discoveryAddress", P3, SINCE("1.8"),
	  IGNORED("the router is reached through its socket"),
	  .help = "Where the control plane is" },
	{ F_ANY(T, unused), .name = "discoveryRefreshDelay", P3, SINCE("1.8"),
	  IGNORED("Istio does not use it"),
	  .help = "Not used" },
	{ F_ANY(T, unused), .name = "zipkinAddress", P3, SINCE("1.8"),
	  IGNORED("Istio gave it up; use extensionProviders"),
	  .help = "Old form of a Zipkin provider" },
	{ F_ANY(T, unused), .name = "envoyMetricsServiceAddress", P3, SINCE("1.8"),
	  IGNORED("Envoy's own protocol"),
	  .help = "Metrics over Envoy's protocol" },
	{ F_ANY(T, unused), .name = "envoyMetricsService", P3, SINCE("1.8"),
	  IGNORED("Envoy's own protocol"),
	  .help = "Metrics over Envoy's protocol" },
	{ F_ANY(T, unused), .name = "envoyAccessLogService", P3, SINCE("1.8"),
	  IGNORED("Envoy's own protocol"),
	  .help = "Access logs over Envoy's protocol" },
	{ F_ANY(T, unused), .name = "controlPlaneAuthPolicy", P3, SINCE("1.8"),
	  IGNORED("daemons talk through sockets"),
	  .help = "TLS towards the control plane" },
	{ F_ANY(T, unused), .name = "availabilityZone", P3, SINCE("1.8"),
	  IGNORED("Istio gave it up; use node.locality"),
	  .help = "Old form of the locality" },
	{ F_ANY(T, unused), .name = "statNameLength", P3, SINCE("1.8"),
	  IGNORED("Envoy's own statistics"),
	  .help = "Longest name of a statistic" },
	{ F_ANY(T, unused), .name = "sds", P3, SINCE("1.8"),
	  IGNORED("Envoy's own protocol"),
	  .help = "Secrets over Envoy's protocol" },
	{ F_ANY(T, unused), .name = "proxyMetadata", P3, SINCE("1.8"),
	  IGNORED("Envoy's bootstrap"),
	  .help = "Envoy's bootstrap" },
	{ F_ANY(T, unused), .name = "proxyStatsMatcher", P3, SINCE("1.8"),
	  IGNORED("Envoy's own statistics"),
	  .help = "Which of Envoy's statistics are kept" },
	{ F_ANY(T, unused), .name = "image", P3, SINCE("1.13"),
	  IGNORED("there are no container images"),
	  .help = "Image of the proxy" },
	{ F_ANY(T, unused), .name = "runtimeValues", P3, SINCE("1.14"),
	  IGNORED("Envoy's runtime switches"),
	  .help = "Envoy's runtime switches" },
	{ F_ANY(T, unused), .name = "privateKeyProvider", P3, SINCE("1.14"),
	  IGNORED("keys are made in memory"),
	  .help = "Hardware for private keys" },
	{ F_ANY(T, unused), .name = "fileFlushInterval", P3, SINCE("1.29"),
	  IGNORED("the access log has its own writer"),
	  .help = "How often logs are written" },
	{ F_ANY(T, unused), .name = "fileFlushMinSizeKb", P3, SINCE("1.29"),
	  IGNORED("the access log has its own writer"),
	  .help = "How much is written at once" },
	{ F_ANY(T, unused), .name = "statsCompression", P3, SINCE("1.29"),
	  IGNORED("metrics are not compressed"),
	  .help = "Compress statistics" },
	{ F_ANY(T, connectionSettings), P3, SINCE("dev"),
	  NOT_YET("not in a release of Istio yet; see limits"),
	  .help = "Limits of connections" },
	F_END
};
const struct bind_table model_proxy_config_table = TABLE("ProxyConfig", proxy_config_fields);
#undef T

#define T struct model_gateway_topology
static const struct field gateway_topology_fields[] = {
	{ F_INT(T, numTrustedProxies, 0, 255), P1, SINCE("1.8"),
	  .help = "Proxies whose X-Forwarded-For is believed (default 0)" },
	{ F_ENUM(T, forwardClientCertDetails, model_xfcc_names), P1, SINCE("1.8"),
	  .help = "What becomes of X-Forwarded-Client-Cert" },
	{ F_ANY(T, proxyProtocol), P2, SINCE("1.19"),
	  .help = "Take a PROXY header from clients" },
	F_END
};
const struct bind_table model_gateway_topology_table = TABLE("Topology", gateway_topology_fields);
#undef T
