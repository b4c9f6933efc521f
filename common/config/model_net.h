/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_net: what exists and where: Service, Workload, ServiceEntry, WorkloadEntry, Gateway,
 * Sidecar. Layer config; included by model.h. Members carry the field's names (see
 * model_traffic.h).
 */
#pragma once

#include "config/model_traffic.h"

/* ---- Service (Kubernetes' core fields) ----------------------------------------------------- */
struct model_service_port {
	struct origin at;
	struct str name;                /* p == NULL: not given */
	int64_t port;                   /* service port; "number" is the same field */
	int64_t number;                 /* as written; load copies it into port */
	struct doc *targetPort;         /* as written: number or name of a workload port */
	int64_t targetNumber;           /* filled by load: 0 when a name was given; default port */
	struct str targetName;          /* filled by load: p == NULL when a number */
	struct str protocol, appProtocol;
	struct str listen; /* "127.0.0.1:16379": explicit plain TCP entry on the node proxy */
	int64_t nodePort;
};
struct model_service {
	struct model_resource r;
	MODEL_LIST(struct model_service_port) ports;
	struct labels selector;         /* n == 0: selects nothing */
	/* accepted, without meaning on a VPS */
	struct str clusterIP, type, externalName, sessionAffinity, internalTrafficPolicy,
		externalTrafficPolicy;
	struct str ipFamilyPolicy, loadBalancerIP;
	struct str_list clusterIPs, externalIPs, ipFamilies;
	bool publishNotReadyAddresses;
};

/* ---- Workload (ours) ----------------------------------------------------------------------- */
struct model_workload_port {
	struct origin at;
	struct str name;
	int64_t number;
	struct str protocol;
};
struct model_sidecar_ports {            /* of a dedicated proxy; 0: none */
	struct origin at;
	int64_t mesh, http;
};
enum model_sidecar_form { MODEL_SIDECAR_SHARED, MODEL_SIDECAR_DEDICATED };
enum model_capture_mode { MODEL_CAPTURE_NONE, MODEL_CAPTURE_REDIRECT, MODEL_CAPTURE_TPROXY };
enum model_failure_mode { MODEL_FAILURE_CLOSED, MODEL_FAILURE_OPEN };
enum model_path_ambiguity { MODEL_PATH_REFUSE, MODEL_PATH_ALLOW };
struct model_capture {
	struct origin at;
	int mode;                       /* enum model_capture_mode */
	bool has_mode;
	struct int_list includeInboundPorts, excludeInboundPorts, includeOutboundPorts,
		excludeOutboundPorts;
	struct str_list includeOutboundIPRanges, excludeOutboundIPRanges;
	int failureMode;                /* enum model_failure_mode */
	/* filled by load: an annotation names no port, no range at all */
	bool noInbound, noOutbound;
};
struct model_certificate {              /* as files, for a program that speaks no SPIFFE */
	struct origin at;
	struct str directory;           /* empty: /run/kvmesh/certs/NAME */
	struct str owner, group, mode;  /* of the key; empty: root, the owner's, "0600" */
	struct str reload, signal;      /* a unit; empty signal: its ExecReload= */
};
struct model_resource_amounts {
	struct str cpu, memory;         /* "100m", "128Mi" */
};
struct model_resources {
	struct model_resource_amounts *requests, *limits;
};
struct model_probe_header {
	struct str name, value;
};
struct model_probe_http {
	struct str path, host, scheme;
	int64_t port;
	MODEL_LIST(struct model_probe_header) httpHeaders;
};
struct model_probe_tcp {
	struct str host;
	int64_t port;
};
struct model_probe_exec {
	struct str_list command;
};
struct model_probe_grpc {
	int64_t port;
	struct str service;
};
struct model_probe {                    /* WorkloadGroup's ReadinessProbe */
	struct origin at;
	int64_t initialDelaySeconds, timeoutSeconds, periodSeconds, successThreshold,
		failureThreshold;
	struct model_probe_http *httpGet;
	struct model_probe_tcp *tcpSocket;
	struct model_probe_exec *exec;
	struct model_probe_grpc *grpc;
};
struct model_workload {
	struct model_resource r;        /* r.labels are the workload's labels */
	struct str unit, user;          /* how the kernel proves it */
	struct str executable, executableSha256;        /* what its program must be besides */
	struct str serviceAccount; /* load fills in the default: unit name, else workload name */
	struct str address;             /* load fills in 127.0.0.1; IP or unix:/path */
	MODEL_LIST(struct model_workload_port) ports;
	/*
	 * inject: in the mesh; absent is true, unless an annotation, a label or the namespace says
	 * otherwise. has_inject: the Workload itself says so. injected: it or its namespace asks
	 * for it in so many words: the unit is ordered behind its proxy, its traffic is captured.
	 */
	bool inject, has_inject, injected;
	int sidecar;                    /* enum model_sidecar_form */
	struct model_sidecar_ports *sidecarPorts;
	bool gateway;                   /* an instance kvmesh-proxy@NAME */
	struct model_capture *capture;
	struct model_certificate *certificate;  /* NULL: no files */
	/* of its proxy; load takes the sidecar.istio.io annotations */
	struct model_resources *resources;
	struct model_probe *probe;
	struct str locality;
	int64_t weight;                 /* 0: 1 */
	int pathAmbiguity;              /* enum model_path_ambiguity */
	struct str node;                /* node it runs on; p == NULL: this one */
};

/* ---- Namespace ------------------------------------------------------------------------------ */
/* r.name and r.ns are the same; all that it says are its labels. */
struct model_namespace {
	struct model_resource r;
	struct str_list finalizers;
};

/* ---- WorkloadEntry, ServiceEntry ----------------------------------------------------------- */
struct model_endpoint {                 /* WorkloadEntry's spec, also ServiceEntry.endpoints[] */
	struct origin at;
	struct str address;
	struct doc *ports;              /* as written; read portNumbers */
	struct model_int_map portNumbers;       /* filled by load: port name → number */
	struct labels labels;
	struct str network, locality;
	int64_t weight;                 /* 0: 1 */
	struct str serviceAccount;
};
struct model_workload_entry {
	struct model_resource r;
	struct model_endpoint e;
};
struct model_se_port {
	struct origin at;
	int64_t number, targetPort;     /* targetPort 0: number */
	struct str protocol, name;
};
enum model_se_location { MODEL_SE_MESH_EXTERNAL, MODEL_SE_MESH_INTERNAL };
enum model_se_resolution {
	MODEL_SE_NONE, MODEL_SE_STATIC, MODEL_SE_DNS, MODEL_SE_DNS_ROUND_ROBIN, MODEL_SE_DYNAMIC_DNS
};
struct model_service_entry {
	struct model_resource r;
	struct str_list hosts, addresses;
	MODEL_LIST(struct model_se_port) ports;
	int location;                   /* enum model_se_location */
	int resolution;                 /* enum model_se_resolution */
	MODEL_LIST(struct model_endpoint) endpoints;
	struct model_workload_selector *workloadSelector;
	struct str_list exportTo;       /* n == 0: mesh.defaultServiceExportTo */
	struct str_list subjectAltNames;
};

/* ---- Gateway ------------------------------------------------------------------------------- */
enum model_server_tls_mode { /* ServerTLSSettings.TLSmode */
			     MODEL_SERVER_TLS_PASSTHROUGH,
			     MODEL_SERVER_TLS_SIMPLE,
			     MODEL_SERVER_TLS_MUTUAL,
			     MODEL_SERVER_TLS_AUTO_PASSTHROUGH,
			     MODEL_SERVER_TLS_ISTIO_MUTUAL,
			     MODEL_SERVER_TLS_OPTIONAL_MUTUAL
};
enum model_tls_version {                /* ServerTLSSettings.TLSProtocol */
	MODEL_TLS_AUTO, MODEL_TLS_V1_0, MODEL_TLS_V1_1, MODEL_TLS_V1_2, MODEL_TLS_V1_3
};
struct model_tls_certificate {
	struct str serverCertificate, privateKey, caCertificates;
};
struct model_server_tls {
	struct origin at;
	bool httpsRedirect;
	int mode;                       /* enum model_server_tls_mode */
	bool has_mode;
	struct str serverCertificate, privateKey, caCertificates, credentialName,
		caCertCredentialName, caCrl;
	struct str_list credentialNames;
	MODEL_LIST(struct model_tls_certificate) tlsCertificates;
	struct str_list subjectAltNames, verifyCertificateSpki, verifyCertificateHash;
	int minProtocolVersion, maxProtocolVersion;     /* enum model_tls_version */
	struct str_list cipherSuites;
	bool insecureSkipVerify, has_insecureSkipVerify;
};
struct model_gateway_port {
	struct origin at;
	int64_t number;
	struct str protocol, name;
	int64_t targetPort;
};
struct model_server {
	struct origin at;
	struct model_gateway_port *port;
	struct str bind;
	struct str_list hosts;
	struct model_server_tls *tls;
	struct str defaultEndpoint, name;
};
struct model_gateway {
	struct model_resource r;
	MODEL_LIST(struct model_server) servers;
	struct labels selector;
};

/* ---- Sidecar ------------------------------------------------------------------------------- */
enum model_listener_capture {
	MODEL_LISTENER_DEFAULT,
	MODEL_LISTENER_IPTABLES,
	MODEL_LISTENER_NONE
};
enum model_outbound_mode { MODEL_OUTBOUND_REGISTRY_ONLY, MODEL_OUTBOUND_ALLOW_ANY };
struct model_outbound_policy {
	struct origin at;
	int mode;                       /* enum model_outbound_mode */
	struct model_destination *egressProxy;
};
struct model_sidecar_ingress {
	struct origin at;
	struct model_gateway_port *port;
	struct str bind;
	int captureMode;                /* enum model_listener_capture */
	struct str defaultEndpoint;
	struct model_server_tls *tls;
	struct model_connection_pool *connectionPool;
};
struct model_sidecar_egress {
	struct origin at;
	struct model_gateway_port *port;
	struct str bind;
	int captureMode;                /* enum model_listener_capture */
	struct str_list hosts;
};
struct model_sidecar {
	struct model_resource r;
	struct model_workload_selector *workloadSelector;
	MODEL_LIST(struct model_sidecar_ingress) ingress;
	MODEL_LIST(struct model_sidecar_egress) egress;
	struct model_outbound_policy *outboundTrafficPolicy;
	struct model_connection_pool *inboundConnectionPool;
};
