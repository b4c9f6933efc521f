/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: the field tables of ServiceEntry, WorkloadEntry, Service, Workload. Layer config.
 * From them come reading, writing, the manual (explain) and the list of what is not enforced yet.
 */
#include "config/model_fields.h"

#define T struct model_service_entry
static const struct field service_entry_fields[] = {
	{ F_STR_LIST(T, hosts), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Names by which it is called; \"*.\" covers a suffix" },
	{ F_STR_LIST(T, addresses), P1, SINCE("1.8"),
	  .help = "Virtual IPs or CIDRs by which it is called" },
	{ F_LIST(T, ports, model_se_port_table), P1, SINCE("1.8"),
	  .help = "Ports; needed unless resolution is NONE" },
	{ F_ENUM(T, location, model_se_location_names), P1, SINCE("1.8"),
	  .help = "MESH_INTERNAL: with mTLS; MESH_EXTERNAL: outside (default MESH_EXTERNAL)" },
	{ F_ENUM(T, resolution, model_se_resolution_names), P1, SINCE("1.8"),
	  .help = "How endpoints are found: NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS "
	          "(default NONE)" },
	{ F_LIST(T, endpoints, model_endpoint_table), P1, SINCE("1.8"),
	  .help = "Endpoints; excludes workloadSelector" },
	{ F_PTR(T, workloadSelector, model_workload_selector_table), P1, SINCE("1.8"),
	  .help = "WorkloadEntries and Workloads of the same namespace by label; excludes "
	          "endpoints" },
	{ F_STR_LIST(T, exportTo), P2, SINCE("1.8"),
	  .help = "Namespaces that see it: \".\", \"*\", \"~\" or names (default \"*\")" },
	{ F_STR_LIST(T, subjectAltNames), P1, SINCE("1.8"),
	  .help = "Names one of which the server's certificate must carry" },
	F_END
};
const struct bind_table model_service_entry_table = TABLE("ServiceEntry", service_entry_fields);
#undef T

#define T struct model_se_port
static const struct field se_port_fields[] = {
	{ F_INT(T, number, 1, 65535), .flags = FIELD_REQUIRED, P1, SINCE("1.8"),
	  .help = "Port" },
	{ F_STR(T, protocol), P1, SINCE("1.8"),
	  .help = "HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS; absent: found out from the "
	          "first bytes" },
	{ F_STR(T, name), P1, SINCE("1.8"),
	  .help = "Unique name, a DNS label" },
	{ F_INT(T, targetPort, 0, 65535), P1, SINCE("1.8"),
	  .help = "Port of the endpoints when they name none (default: number)" },
	F_END
};
const struct bind_table model_se_port_table = TABLE_AT("ServicePort", se_port_fields);
#undef T

#define T struct model_endpoint
static const struct field endpoint_fields[] = {
	{ F_STR(T, address), P1, SINCE("1.8"),
	  .help = "IP, name or unix:///path" },
	{ F_ANY(T, ports), P1, SINCE("1.8"),
	  .help = "Port name to number" },
	{ F_LABELS(T, labels), P1, SINCE("1.8"),
	  .help = "Labels by which subsets choose" },
	{ F_STR(T, network), P2, SINCE("1.8"),
	  NOT_YET("there is one network for now"),
	  .help = "Network that the address belongs to" },
	{ F_STR(T, locality), P2, SINCE("1.8"),
	  .help = "region/zone/subzone" },
	{ F_INT(T, weight, 0, UINT32_MAX), P1, SINCE("1.8"),
	  .help = "Share among the endpoints (default 1)" },
	{ F_STR(T, serviceAccount), P1, SINCE("1.8"),
	  .help = "Account in the own namespace: the identity that the endpoint must prove" },
	F_END
};
const struct bind_table model_endpoint_table = TABLE_AT("WorkloadEntry", endpoint_fields);
#undef T

#define T struct model_workload_selector
static const struct field workload_selector_fields[] = {
	{ F_LABELS(T, labels), P2, SINCE("1.8"),
	  .help = "Labels that a workload must have" },
	F_END
};
const struct bind_table model_workload_selector_table =
	TABLE("WorkloadSelector", workload_selector_fields);
#undef T

#define T struct model_match_labels
static const struct field match_labels_fields[] = {
	{ F_LABELS(T, matchLabels), P1, SINCE("1.8"),
	  .help = "Labels that a workload must have" },
	F_END
};
const struct bind_table model_match_labels_table =
	TABLE_AT("WorkloadSelector", match_labels_fields);
#undef T

#define T struct model_service
static const struct field service_fields[] = {
	{ F_LIST(T, ports, model_service_port_table), OURS,
	  .help = "Ports by which the service is called" },
	{ F_LABELS(T, selector), OURS,
	  .help = "Labels that its workloads must have" },
	{ F_STR(T, clusterIP), OURS,
	  IGNORED("a VPS has no virtual cluster addresses"),
	  .help = "Kubernetes' virtual address" },
	{ F_STR_LIST(T, clusterIPs), OURS,
	  IGNORED("a VPS has no virtual cluster addresses"),
	  .help = "Kubernetes' virtual addresses" },
	{ F_STR(T, type), OURS,
	  IGNORED("every Service is reached through the mesh"),
	  .help = "ClusterIP, NodePort, LoadBalancer or ExternalName" },
	{ F_STR(T, externalName), OURS,
	  IGNORED("use a ServiceEntry"),
	  .help = "Name of a service outside" },
	{ F_STR_LIST(T, externalIPs), OURS,
	  IGNORED("use a Gateway"),
	  .help = "Addresses of the service outside" },
	{ F_STR(T, loadBalancerIP), OURS,
	  IGNORED("use a Gateway"),
	  .help = "Address of a load balancer" },
	{ F_STR(T, sessionAffinity), OURS,
	  IGNORED("use consistentHash of a DestinationRule"),
	  .help = "None or ClientIP" },
	{ F_STR(T, internalTrafficPolicy), OURS,
	  IGNORED("Kubernetes' node-local routing"),
	  .help = "Cluster or Local" },
	{ F_STR(T, externalTrafficPolicy), OURS,
	  IGNORED("Kubernetes' node-local routing"),
	  .help = "Cluster or Local" },
	{ F_STR_LIST(T, ipFamilies), OURS,
	  IGNORED("endpoints say their own address"),
	  .help = "IPv4, IPv6" },
	{ F_STR(T, ipFamilyPolicy), OURS,
	  IGNORED("endpoints say their own address"),
	  .help = "SingleStack or DualStack" },
	{ F_BOOL(T, publishNotReadyAddresses), OURS,
	  IGNORED("health is kvmesh's own business"),
	  .help = "Show endpoints that are not ready" },
	F_END
};
const struct bind_table model_service_table = TABLE("Service", service_fields);
#undef T

#define T struct model_service_port
static const struct field service_port_fields[] = {
	{ F_STR(T, name), OURS,
	  .help = "Unique name; its beginning tells the protocol, for example http-api" },
	{ F_INT(T, port, 1, 65535), OURS,
	  .help = "Port by which the service is called" },
	{ F_INT(T, number, 1, 65535), OURS,
	  .help = "The same as port" },
	{ F_ANY(T, targetPort), OURS,
	  .help = "Port of the workload: number or name of one of its ports (default: port)" },
	{ F_STR(T, protocol), OURS,
	  .help = "HTTP, HTTP2, GRPC, TCP, TLS, HTTPS, MONGO, REDIS, MYSQL; Kubernetes' TCP "
	          "leaves it to the name" },
	{ F_STR(T, appProtocol), OURS,
	  .help = "The same as protocol, and stronger" },
	{ F_STR(T, listen), OURS,
	  .help = "Address and port, for example 127.0.0.1:16379, on which the node proxy "
	          "takes plain TCP for this port" },
	{ F_INT(T, nodePort, 0, 65535), OURS,
	  IGNORED("use listen or a Gateway"),
	  .help = "Kubernetes' port on every node" },
	F_END
};
const struct bind_table model_service_port_table = TABLE_AT("ServicePort", service_port_fields);
#undef T

#define T struct model_workload
static const struct field workload_fields[] = {
	{ F_STR(T, unit), OURS, .help = "systemd unit whose processes are this workload" },
	{ F_STR(T, user), OURS,
	  .help = "User whose processes are this workload; for programs that are no unit" },
	{ F_STR(T, executable), OURS,
	  .help = "File of the program that may have its certificates (default: any of the unit)" },
	{ F_STR(T, executableSha256), OURS,
	  .help = "SHA-256 of that program's bytes, 64 hex digits (default: any)" },
	{ F_STR(T, serviceAccount), OURS,
	  .help = "Account of its identity (default: the unit's name without suffix and "
		  "instance)" },
	{ F_STR(T, address), OURS,
	  .help = "Where the application listens: IP or unix:/path (default 127.0.0.1)" },
	{ F_LIST(T, ports, model_workload_port_table), OURS,
	  .help = "Ports on which the application listens" },
	{ F_BOOL(T, inject), F_OPT(T, has_inject), OURS,
	  .help = "Put it into the mesh (default true)" },
	{ F_ENUM(T, sidecar, model_sidecar_form_names), OURS,
	  .help = "shared: the node's proxy; dedicated: an own kvmesh-proxy@NAME (default "
		  "shared)" },
	{ F_PTR(T, sidecarPorts, model_sidecar_ports_table), OURS,
	  .help = "Ports of a dedicated proxy, which cannot have those of the node's" },
	{ F_BOOL(T, gateway), OURS,
	  .help = "An edge proxy kvmesh-proxy@NAME that serves Gateways whose selector "
		  "matches" },
	{ F_PTR(T, capture, model_capture_table), OURS,
	  .help = "Which traffic is redirected through the proxy, while kvmeshctl capture is on" },
	{ F_PTR(T, certificate, model_certificate_table), OURS,
	  .help = "Its certificate as files, for a program that speaks no SPIFFE; written by "
		  "kvmesh-certs@NAME.service" },
	{ F_PTR(T, resources, model_resources_table), OURS,
	  .help = "CPU and memory of its proxy, when that is dedicated or a gateway: limits of "
		  "kvmesh-proxy@NAME" },
	{ F_PTR(T, probe, model_probe_table), OURS,
	  .help = "Health check of the application" },
	{ F_STR(T, locality), OURS,
	  .help = "region/zone/subzone (default: node.locality)" },
	{ F_INT(T, weight, 0, UINT32_MAX), OURS, .help = "Share among the endpoints (default 1)" },
	{ F_ENUM(T, pathAmbiguity, model_path_ambiguity_names), OURS,
	  .help = "What becomes of ambiguous paths under path rules: refuse or allow (default"
		  " refuse)" },
	{ F_STR(T, node), OURS, NOT_YET("every workload is on this node"),
	  .help = "Node that it runs on (default: this one)" },
	F_END
};
const struct bind_table model_workload_table = TABLE("Workload", workload_fields);
#undef T

#define T struct model_sidecar_ports
static const struct field sidecar_ports_fields[] = {
	{ F_INT(T, mesh, 1, 65535), .flags = FIELD_REQUIRED, OURS,
	  .help = "Where it takes mTLS for the workload, as node.meshPort does for the others" },
	{ F_INT(T, http, 0, 65535), OURS,
	  .help = "Its explicit HTTP proxy on node.localBind, as mesh.proxyHttpPort; 0: none" },
	F_END
};
const struct bind_table model_sidecar_ports_table = TABLE_AT("SidecarPorts", sidecar_ports_fields);
#undef T

#define T struct model_namespace
static const struct field namespace_fields[] = {
	{ F_STR_LIST(T, finalizers), OURS, IGNORED("there is nothing to clean up"),
	  .help = "Kubernetes' bookkeeping" },
	F_END
};
const struct bind_table model_namespace_table = TABLE("Namespace", namespace_fields);
#undef T

#define T struct model_workload_port
static const struct field workload_port_fields[] = {
	{ F_STR(T, name), OURS,
	  .help = "Name that Service.ports.targetPort may use" },
	{ F_INT(T, number, 1, 65535), .flags = FIELD_REQUIRED, OURS,
	  .help = "Port" },
	{ F_STR(T, protocol), OURS,
	  .help = "HTTP, HTTP2, GRPC, TCP, TLS; absent: the Service's" },
	F_END
};
const struct bind_table model_workload_port_table = TABLE_AT("WorkloadPort", workload_port_fields);
#undef T

#define T struct model_capture
static const struct field capture_fields[] = {
	{ F_ENUM(T, mode, model_capture_mode_names), F_OPT(T, has_mode), OURS,
	  .help = "NONE, REDIRECT or TPROXY (default: mesh.defaultConfig.interceptionMode)" },
	{ F_ENUM(T, failureMode, model_failure_mode_names), OURS,
	  .help = "Without a proxy its traffic is refused (closed) or goes its own way (open) "
		  "(default closed)" },
	{ F_INT_LIST(T, includeInboundPorts, 1, 65535), OURS,
	  .help = "Ports whose incoming traffic is redirected (default: all of its ports)" },
	{ F_INT_LIST(T, excludeInboundPorts, 1, 65535), OURS,
	  .help = "Ports whose incoming traffic is left alone" },
	{ F_INT_LIST(T, includeOutboundPorts, 1, 65535), OURS,
	  .help = "Destination ports that are redirected whatever the address" },
	{ F_INT_LIST(T, excludeOutboundPorts, 1, 65535), OURS,
	  .help = "Destination ports that are left alone" },
	{ F_STR_LIST(T, includeOutboundIPRanges), OURS,
	  .help = "Destinations (CIDR) that are redirected (default: all)" },
	{ F_STR_LIST(T, excludeOutboundIPRanges), OURS,
	  .help = "Destinations (CIDR) that are left alone" },
	F_END
};
const struct bind_table model_capture_table = TABLE_AT("Capture", capture_fields);
#undef T

#define T struct model_certificate
static const struct field certificate_fields[] = {
	{ F_STR(T, directory), OURS,
	  .help = "Where the files are (default /run/kvmesh/certs/NAME); root's alone to change" },
	{ F_STR(T, owner), OURS, .help = "User whose the key is (default root)" },
	{ F_STR(T, group), OURS, .help = "Group of the key (default: the owner's)" },
	{ F_STR(T, mode), OURS, .help = "Mode of the key: 0400, 0440, 0600 or 0640 (default 0600)" },
	{ F_STR(T, reload), OURS,
	  .help = "Unit that is told when the files are others (default: nobody)" },
	{ F_STR(T, signal), OURS,
	  .help = "It gets this signal, SIGHUP, SIGUSR1 or SIGUSR2 (default: systemctl reload)" },
	F_END
};
const struct bind_table model_certificate_table = TABLE_AT("Certificate", certificate_fields);
#undef T

#define T struct model_resources
static const struct field resources_fields[] = {
	{ F_PTR(T, requests, model_resource_amounts_table), OURS,
	  .help = "What the proxy is meant to get" },
	{ F_PTR(T, limits, model_resource_amounts_table), OURS,
	  .help = "What the proxy may use at most" },
	F_END
};
const struct bind_table model_resources_table = TABLE("Resources", resources_fields);
#undef T

#define T struct model_resource_amounts
static const struct field resource_amounts_fields[] = {
	{ F_STR(T, cpu), OURS,
	  .help = "100m is a tenth of a core" },
	{ F_STR(T, memory), OURS,
	  .help = "Bytes with a suffix: 128Mi" },
	F_END
};
const struct bind_table model_resource_amounts_table = TABLE("Amounts", resource_amounts_fields);
#undef T

#define T struct model_probe
static const struct field probe_fields[] = {
	{ F_INT(T, initialDelaySeconds, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Wait after the start (default 0)" },
	{ F_INT(T, timeoutSeconds, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Time for an answer (default 1)" },
	{ F_INT(T, periodSeconds, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Time between probes (default 10)" },
	{ F_INT(T, successThreshold, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Successes in a row to be healthy again (default 1)" },
	{ F_INT(T, failureThreshold, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Failures in a row to be unhealthy (default 3)" },
	{ F_PTR(T, httpGet, model_probe_http_table), ONEOF(1), P1, SINCE("1.8"),
	  .help = "Probe by an HTTP request" },
	{ F_PTR(T, tcpSocket, model_probe_tcp_table), ONEOF(1), P1, SINCE("1.8"),
	  .help = "Probe by a TCP connection" },
	{ F_PTR(T, exec, model_probe_exec_table), ONEOF(1), P1, SINCE("1.8"),
	  .help = "Probe by a command" },
	{ F_PTR(T, grpc, model_probe_grpc_table), ONEOF(1), P2, SINCE("1.25"),
	  .help = "Probe by grpc.health.v1" },
	F_END
};
const struct bind_table model_probe_table = TABLE_AT("ReadinessProbe", probe_fields);
#undef T

#define T struct model_probe_http
static const struct field probe_http_fields[] = {
	{ F_STR(T, path), P1, SINCE("1.8"),
	  .help = "Path (default /)" },
	{ F_INT(T, port, 1, 65535), .flags = FIELD_REQUIRED, P1, SINCE("1.8"),
	  .help = "Port" },
	{ F_STR(T, host), P1, SINCE("1.8"),
	  .help = "Host (default: the workload's address)" },
	{ F_STR(T, scheme), P1, SINCE("1.8"),
	  .help = "HTTP or HTTPS (default HTTP)" },
	{ F_LIST(T, httpHeaders, model_probe_header_table), P2, SINCE("1.8"),
	  .help = "Headers of the request" },
	F_END
};
const struct bind_table model_probe_http_table = TABLE("HTTPHealthCheckConfig", probe_http_fields);
#undef T

#define T struct model_probe_header
static const struct field probe_header_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.8"),
	  .help = "Name of the header" },
	{ F_STR(T, value), P2, SINCE("1.8"),
	  .help = "Value of the header" },
	F_END
};
const struct bind_table model_probe_header_table = TABLE("HTTPHeader", probe_header_fields);
#undef T

#define T struct model_probe_tcp
static const struct field probe_tcp_fields[] = {
	{ F_STR(T, host), P1, SINCE("1.8"),
	  .help = "Host (default: the workload's address)" },
	{ F_INT(T, port, 1, 65535), .flags = FIELD_REQUIRED, P1, SINCE("1.8"),
	  .help = "Port" },
	F_END
};
const struct bind_table model_probe_tcp_table = TABLE("TCPHealthCheckConfig", probe_tcp_fields);
#undef T

#define T struct model_probe_exec
static const struct field probe_exec_fields[] = {
	{ F_STR_LIST(T, command), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Program and its arguments; exit status 0 is healthy" },
	F_END
};
const struct bind_table model_probe_exec_table = TABLE("ExecHealthCheckConfig", probe_exec_fields);
#undef T

#define T struct model_probe_grpc
static const struct field probe_grpc_fields[] = {
	{ F_INT(T, port, 1, 65535), .flags = FIELD_REQUIRED, P2, SINCE("1.25"),
	  .help = "Port" },
	{ F_STR(T, service), P2, SINCE("1.25"),
	  .help = "Name of the service in grpc.health.v1" },
	F_END
};
const struct bind_table model_probe_grpc_table = TABLE("GrpcHealthCheckConfig", probe_grpc_fields);
#undef T
