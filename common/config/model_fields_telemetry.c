/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: the field tables of Telemetry. Layer config.
 * From them come reading, writing, the manual (explain) and the list of what is not enforced yet.
 */
#include "config/model_fields.h"

#define T struct model_telemetry
static const struct field telemetry_fields[] = {
	{ F_PTR(T, selector, model_match_labels_table), P2, SINCE("1.10"),
	  .help = "Workloads; absent: the namespace, or the mesh in the root namespace" },
	{ F_PTR(T, targetRef, model_target_ref_table), P3, SINCE("1.20"),
	  REFUSED("it names an object of the Kubernetes Gateway API; use selector"),
	  .help = "Kubernetes Gateway API object" },
	{ F_LIST(T, targetRefs, model_target_ref_table), P3, SINCE("1.22"),
	  REFUSED("they name objects of the Kubernetes Gateway API; use selector"),
	  .help = "Kubernetes Gateway API objects" },
	{ F_LIST(T, tracing, model_tracing_table), P2, SINCE("1.10"),
	  .help = "Where spans go and how many" },
	{ F_LIST(T, metrics, model_telemetry_metrics_table), P2, SINCE("1.11"),
	  .help = "Which metrics with which labels" },
	{ F_LIST(T, accessLogging, model_access_logging_table), P2, SINCE("1.11"),
	  .help = "Where access logs go and which lines" },
	F_END
};
const struct bind_table model_telemetry_table = TABLE("Telemetry", telemetry_fields);
#undef T

#define T struct model_tracing
static const struct field tracing_fields[] = {
	{ F_PTR(T, match, model_mode_selector_table), P2, SINCE("1.14"),
	  .help = "Side that reports" },
	{ F_LIST(T, providers, model_provider_ref_table), P2, SINCE("1.10"),
	  .help = "Names of mesh.extensionProviders" },
	{ F_REAL(T, randomSamplingPercentage, 0, 100), F_OPT(T, has_randomSamplingPercentage),
	  P2, SINCE("1.10"),
	  .help = "Share of requests that is traced (default: the mesh's)" },
	{ F_BOOL(T, disableSpanReporting), F_OPT(T, has_disableSpanReporting), P2, SINCE("1.10"),
	  .help = "Send no spans (default false)" },
	{ F_MAP(T, customTags, model_custom_tag_table), P2, SINCE("1.10"),
	  .help = "Tags of each span" },
	{ F_BOOL(T, useRequestIdForTraceSampling), F_OPT(T, has_useRequestIdForTraceSampling),
	  P3, SINCE("1.13"),
	  .help = "Sample by x-request-id (default true)" },
	{ F_BOOL(T, enableIstioTags), F_OPT(T, has_enableIstioTags), P3, SINCE("1.25"),
	  .help = "Istio's own tags (default true)" },
	{ F_BOOL(T, disableContextPropagation), F_OPT(T, has_disableContextPropagation), P3,
	  SINCE("1.30"),
	  .help = "Do not forward trace headers (default false)" },
	F_END
};
const struct bind_table model_tracing_table = TABLE_AT("Tracing", tracing_fields);
#undef T

#define T struct model_mode_selector
static const struct field mode_selector_fields[] = {
	{ F_ENUM(T, mode, model_workload_mode_names), P2, SINCE("1.14"),
	  .help = "CLIENT_AND_SERVER, CLIENT or SERVER (default CLIENT_AND_SERVER)" },
	F_END
};
const struct bind_table model_mode_selector_table = TABLE("TracingSelector", mode_selector_fields);
#undef T

#define T struct model_custom_tag
static const struct field custom_tag_fields[] = {
	{ F_PTR(T, literal, model_tag_value_table), ONEOF(1), P2, SINCE("1.10"),
	  .help = "A fixed value" },
	{ F_PTR(T, environment, model_tag_source_table), ONEOF(1), P2, SINCE("1.10"),
	  .help = "A variable of the proxy's environment" },
	{ F_PTR(T, header, model_tag_source_table), ONEOF(1), P2, SINCE("1.10"),
	  .help = "A request header" },
	{ F_PTR(T, formatter, model_tag_value_table), ONEOF(1), P3, SINCE("1.29"),
	  .help = "Access-log operators" },
	F_END
};
const struct bind_table model_custom_tag_table = TABLE("CustomTag", custom_tag_fields);
#undef T

#define T struct model_tag_value
static const struct field tag_value_fields[] = {
	{ F_STR(T, value), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.10"),
	  .help = "The value" },
	F_END
};
const struct bind_table model_tag_value_table = TABLE("Literal", tag_value_fields);
#undef T

#define T struct model_tag_source
static const struct field tag_source_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.10"),
	  .help = "Name of the variable or header" },
	{ F_STR(T, defaultValue), P2, SINCE("1.10"),
	  .help = "Value when it is missing" },
	F_END
};
const struct bind_table model_tag_source_table = TABLE("Environment", tag_source_fields);
#undef T

#define T struct model_telemetry_metrics
static const struct field telemetry_metrics_fields[] = {
	{ F_LIST(T, providers, model_provider_ref_table), P2, SINCE("1.11"),
	  .help = "Names of mesh.extensionProviders" },
	{ F_LIST(T, overrides, model_metrics_override_table), P2, SINCE("1.11"),
	  .help = "Metrics that are changed or turned off" },
	{ F_TIME(T, reportingInterval), F_OPT(T, has_reportingInterval), P2, SINCE("1.17"),
	  .help = "Time between reports of TCP metrics (default 5s)" },
	F_END
};
const struct bind_table model_telemetry_metrics_table =
	TABLE_AT("Metrics", telemetry_metrics_fields);
#undef T

#define T struct model_metrics_override
static const struct field metrics_override_fields[] = {
	{ F_PTR(T, match, model_metric_selector_table), P2, SINCE("1.11"),
	  .help = "Metric that is changed; absent: all" },
	{ F_BOOL(T, disabled), F_OPT(T, has_disabled), P2, SINCE("1.11"),
	  .help = "Turn it off (default false)" },
	{ F_MAP(T, tagOverrides, model_tag_override_table), P2, SINCE("1.11"),
	  .help = "Label to operation" },
	F_END
};
const struct bind_table model_metrics_override_table =
	TABLE_AT("MetricsOverrides", metrics_override_fields);
#undef T

#define T struct model_tag_override
static const struct field tag_override_fields[] = {
	{ F_ENUM(T, operation, model_tag_operation_names), P2, SINCE("1.11"),
	  .help = "UPSERT or REMOVE (default UPSERT)" },
	{ F_STR(T, value), P2, SINCE("1.11"),
	  .help = "Expression for UPSERT" },
	F_END
};
const struct bind_table model_tag_override_table = TABLE("TagOverride", tag_override_fields);
#undef T

#define T struct model_metric_selector
static const struct field metric_selector_fields[] = {
	{ F_ENUM(T, metric, model_istio_metric_names), F_OPT(T, has_metric), ONEOF(1), P2,
	  SINCE("1.11"),
	  .help = "One of Istio's metrics (default ALL_METRICS)" },
	{ F_STR(T, customMetric), ONEOF(1), P3, SINCE("1.11"),
	  .help = "Name of another metric" },
	{ F_ENUM(T, mode, model_workload_mode_names), P2, SINCE("1.11"),
	  .help = "CLIENT_AND_SERVER, CLIENT or SERVER (default CLIENT_AND_SERVER)" },
	F_END
};
const struct bind_table model_metric_selector_table =
	TABLE("MetricSelector", metric_selector_fields);
#undef T

#define T struct model_access_logging
static const struct field access_logging_fields[] = {
	{ F_PTR(T, match, model_mode_selector_table), P2, SINCE("1.14"),
	  .help = "Side that logs" },
	{ F_LIST(T, providers, model_provider_ref_table), P2, SINCE("1.11"),
	  .help = "Names of mesh.extensionProviders" },
	{ F_BOOL(T, disabled), F_OPT(T, has_disabled), P2, SINCE("1.11"),
	  .help = "Turn it off (default false)" },
	{ F_PTR(T, filter, model_log_filter_table), P2, SINCE("1.13"),
	  .help = "Lines that are written" },
	F_END
};
const struct bind_table model_access_logging_table =
	TABLE_AT("AccessLogging", access_logging_fields);
#undef T

#define T struct model_log_filter
static const struct field log_filter_fields[] = {
	{ F_STR(T, expression), P2, SINCE("1.13"),
	  .help = "CEL expression, for example response.code >= 400" },
	F_END
};
const struct bind_table model_log_filter_table = TABLE("Filter", log_filter_fields);
#undef T
