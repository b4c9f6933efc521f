/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: the field tables of Gateway and Sidecar. Layer config.
 * From them come reading, writing, the manual (explain) and the list of what is not enforced yet.
 */
#include "config/model_fields.h"

#define T struct model_gateway
static const struct field gateway_fields[] = {
	{ F_LIST(T, servers, model_server_table), P1, SINCE("1.8"),
	  .help = "What the gateway listens on" },
	{ F_LABELS(T, selector), P1, SINCE("1.8"),
	  .help = "Labels of the gateway workloads; none: every gateway workload" },
	F_END
};
const struct bind_table model_gateway_table = TABLE("Gateway", gateway_fields);
#undef T

#define T struct model_server
static const struct field server_fields[] = {
	{ F_PTR(T, port, model_gateway_port_table), .flags = FIELD_REQUIRED, P1, SINCE("1.8"),
	  .help = "Port and protocol" },
	{ F_STR(T, bind), P2, SINCE("1.8"),
	  .help = "Address to listen on, or unix:/path with port 0 (default: all addresses)" },
	{ F_STR_LIST(T, hosts), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Hosts that are served: [namespace/]name, \"*\" for all" },
	{ F_PTR(T, tls, model_server_tls_table), P1, SINCE("1.8"),
	  .help = "TLS of the port; needed for HTTPS and TLS" },
	{ F_STR(T, defaultEndpoint), P3, SINCE("1.8"),
	  IGNORED("Istio never used it"),
	  .help = "Endpoint for traffic without a route" },
	{ F_STR(T, name), P2, SINCE("1.8"),
	  .help = "Name for statistics" },
	F_END
};
const struct bind_table model_server_table = TABLE_AT("Server", server_fields);
#undef T

#define T struct model_gateway_port
static const struct field gateway_port_fields[] = {
	{ F_INT(T, number, 0, 65535), P1, SINCE("1.8"),
	  .help = "Port" },
	{ F_STR(T, protocol), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, REDIS, MYSQL, TCP or TLS" },
	{ F_STR(T, name), P1, SINCE("1.8"),
	  .help = "Unique name, a DNS label" },
	{ F_INT(T, targetPort, 0, 65535), P3, SINCE("1.8"),
	  IGNORED("Istio does not use it"),
	  .help = "Port of the workload" },
	F_END
};
const struct bind_table model_gateway_port_table = TABLE_AT("Port", gateway_port_fields);
#undef T

#define T struct model_server_tls
static const struct field server_tls_fields[] = {
	{ F_BOOL(T, httpsRedirect), P1, SINCE("1.8"),
	  .help = "Answer every HTTP request with a redirect to https (default false)" },
	{ F_ENUM(T, mode, model_server_tls_names), F_OPT(T, has_mode), P1, SINCE("1.8"),
	  .help = "PASSTHROUGH, SIMPLE, MUTUAL, AUTO_PASSTHROUGH, ISTIO_MUTUAL or "
	          "OPTIONAL_MUTUAL (default PASSTHROUGH)" },
	{ F_STR(T, serverCertificate), P1, SINCE("1.8"),
	  .help = "PEM file with the certificate chain" },
	{ F_STR(T, privateKey), P1, SINCE("1.8"),
	  .help = "PEM file with its key" },
	{ F_STR(T, caCertificates), P1, SINCE("1.8"),
	  .help = "PEM file with the authorities of client certificates" },
	{ F_STR(T, credentialName), P2, SINCE("1.8"),
	  .help = "Directory below /etc/kvmesh/tls with tls.crt, tls.key and ca.crt" },
	{ F_STR_LIST(T, credentialNames), P3, SINCE("1.26"),
	  .help = "Several credentials, for example RSA and ECDSA" },
	{ F_LIST(T, tlsCertificates, model_tls_certificate_table), P3, SINCE("1.26"),
	  .help = "Several pairs of certificate and key" },
	{ F_STR(T, caCertCredentialName), P3, SINCE("1.28"),
	  .help = "Credential that holds only the authorities" },
	{ F_STR_LIST(T, subjectAltNames), P1, SINCE("1.8"),
	  .help = "Names one of which a client's certificate must carry" },
	{ F_STR_LIST(T, verifyCertificateSpki), P2, SINCE("1.8"),
	  .help = "Accepted client keys: base64 of SHA-256 over the public key" },
	{ F_STR_LIST(T, verifyCertificateHash), P2, SINCE("1.8"),
	  .help = "Accepted client certificates: hex of SHA-256" },
	{ F_ENUM(T, minProtocolVersion, model_tls_version_names), P1, SINCE("1.8"),
	  .help = "Lowest TLS version (default TLSV1_2)" },
	{ F_ENUM(T, maxProtocolVersion, model_tls_version_names), P1, SINCE("1.8"),
	  .help = "Highest TLS version (default TLSV1_3)" },
	{ F_STR_LIST(T, cipherSuites), P2, SINCE("1.8"),
	  .help = "Cipher suites for TLS 1.2, by OpenSSL's names" },
	{ F_STR(T, caCrl), P2, SINCE("1.22"),
	  .help = "PEM file with revocation lists of the authorities" },
	{ F_BOOL(T, insecureSkipVerify), F_OPT(T, has_insecureSkipVerify), P3, SINCE("dev"),
	  NOT_YET("not in a release of Istio yet"),
	  .help = "Do not check client certificates" },
	F_END
};
const struct bind_table model_server_tls_table = TABLE_AT("ServerTLSSettings", server_tls_fields);
#undef T

#define T struct model_tls_certificate
static const struct field tls_certificate_fields[] = {
	{ F_STR(T, serverCertificate), P3, SINCE("1.26"),
	  .help = "PEM file with the certificate chain" },
	{ F_STR(T, privateKey), P3, SINCE("1.26"),
	  .help = "PEM file with its key" },
	{ F_STR(T, caCertificates), P3, SINCE("1.26"),
	  REFUSED("must be empty; use the caCertificates above"),
	  .help = "Authorities" },
	F_END
};
const struct bind_table model_tls_certificate_table =
	TABLE("TLSCertificate", tls_certificate_fields);
#undef T

#define T struct model_sidecar
static const struct field sidecar_fields[] = {
	{ F_PTR(T, workloadSelector, model_workload_selector_table), P2, SINCE("1.8"),
	  .help = "Workloads of the namespace; absent: all of them" },
	{ F_LIST(T, ingress, model_sidecar_ingress_table), P2, SINCE("1.8"),
	  .help = "Inbound listeners (default: from the services)" },
	{ F_LIST(T, egress, model_sidecar_egress_table), P1, SINCE("1.8"),
	  .help = "What the workloads see of the mesh (default: everything)" },
	{ F_PTR(T, outboundTrafficPolicy, model_outbound_policy_table), P1, SINCE("1.8"),
	  .help = "What happens to unknown destinations (default: the mesh's)" },
	{ F_PTR(T, inboundConnectionPool, model_connection_pool_table), P2, SINCE("1.20"),
	  .help = "Limits of inbound connections" },
	F_END
};
const struct bind_table model_sidecar_table = TABLE("Sidecar", sidecar_fields);
#undef T

#define T struct model_sidecar_ingress
static const struct field sidecar_ingress_fields[] = {
	{ F_PTR(T, port, model_gateway_port_table), .flags = FIELD_REQUIRED, P2, SINCE("1.8"),
	  .help = "Port and protocol" },
	{ F_STR(T, bind), P2, SINCE("1.8"),
	  .help = "Address to listen on, with captureMode NONE" },
	{ F_ENUM(T, captureMode, model_listener_capture_names), P2, SINCE("1.8"),
	  .help = "NONE with bind: the proxy opens the port itself; on every other word traffic is "
	          "redirected, or comes through the mesh port" },
	{ F_STR(T, defaultEndpoint), P2, SINCE("1.8"),
	  .help = "Where the application listens: 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT (the "
	          "workload's own address), :PORT or unix:///path" },
	{ F_PTR(T, tls, model_server_tls_table), P2, SINCE("1.13"),
	  NOT_YET("the applications' ports take the mesh's TLS or plain text"),
	  .help = "TLS of the port when PeerAuthentication is DISABLE there" },
	{ F_PTR(T, connectionPool, model_connection_pool_table), P2, SINCE("1.20"),
	  .help = "Limits of this port's connections" },
	F_END
};
const struct bind_table model_sidecar_ingress_table =
	TABLE_AT("IstioIngressListener", sidecar_ingress_fields);
#undef T

#define T struct model_sidecar_egress
static const struct field sidecar_egress_fields[] = {
	{ F_PTR(T, port, model_gateway_port_table), P2, SINCE("1.8"),
	  .help = "Port; absent: every other port" },
	{ F_STR(T, bind), P2, SINCE("1.8"),
	  .help = "Address to listen on with captureMode NONE (default 127.0.0.1); needs a port" },
	{ F_ENUM(T, captureMode, model_listener_capture_names), P2, SINCE("1.8"),
	  .help = "NONE: the proxy opens the port itself, on every other word traffic is redirected" },
	{ F_STR_LIST(T, hosts), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Visible hosts: namespace/name, with \"*\", \".\" and \"~\"" },
	F_END
};
const struct bind_table model_sidecar_egress_table =
	TABLE_AT("IstioEgressListener", sidecar_egress_fields);
#undef T

#define T struct model_outbound_policy
static const struct field outbound_policy_fields[] = {
	{ F_ENUM(T, mode, model_outbound_names), P1, SINCE("1.8"),
	  .help = "REGISTRY_ONLY or ALLOW_ANY (default REGISTRY_ONLY)" },
	{ F_PTR(T, egressProxy, model_destination_table), P3, SINCE("1.8"),
	  .help = "Destination for unknown traffic; only with ALLOW_ANY" },
	F_END
};
const struct bind_table model_outbound_policy_table =
	TABLE_AT("OutboundTrafficPolicy", outbound_policy_fields);
#undef T
