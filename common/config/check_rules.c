/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_rules: the table of rules. docs/analysis.md says the same at more length; a test compares
 * both. Numbers below 0200 are Istio's where Istio has the rule (KVM0101 is IST0101). Layer
 * config.
 */
#include "config/check.h"

#define E ERR_LEVEL_ERROR
#define W ERR_LEVEL_WARNING
#define I ERR_LEVEL_INFO

const struct check_rule check_rules[] = {
	/* ---- while reading ----------------------------------------------------------------- */
	{ "KVM0001", E, "SyntaxError", "",
	  "The file cannot be parsed; the place is where the parser gave up." },
	{ "KVM0002", E, "FileRefused", "",
	  "The file cannot be read or may not be trusted: wrong owner, writable by others, a link "
	  "out of the configuration directory." },
	{ "KVM0003", E, "UnknownKind", "",
	  "No such kind, version or group, or one that kvmesh does not support." },
	{ "KVM0004", W, "KubernetesKindIgnored", "",
	  "A kind of Kubernetes (Deployment, ConfigMap, …) stands among the resources; it is "
	  "skipped." },
	{ "KVM0005", E, "DuplicateResource", "",
	  "Kind, namespace and name are used twice; both places are named." },
	{ "KVM0006", E, "TooMany", "",
	  "More files, resources or nested directories than the limits allow." },
	{ "KVM0007", E, "WrongFile", "",
	  "Settings stand in mesh.d, or a resource in kvmesh.conf or conf.d." },
	/* ---- Istio's analyzers ------------------------------------------------------------- */
	{ "KVM0101", E, "ReferencedResourceNotFound", "IST0101",
	  "A host, subset, port, gateway or provider is named that nothing defines." },
	{ "KVM0106", E, "SchemaViolation", "IST0106",
	  "Unknown or missing field, wrong type, value out of range, two of a choice." },
	{ "KVM0108", W, "UnknownAnnotation", "IST0108",
	  "An annotation of Istio or kvmesh is not known: it is misspelt, or nobody reads it." },
	{ "KVM0109", E, "ConflictingVirtualServiceHosts", "IST0109",
	  "Two VirtualServices route one host for the mesh where one client sees both; the older "
	  "one would win. Join them, or narrow exportTo." },
	{ "KVM0110", E, "ConflictingSidecarWorkloadSelectors", "IST0110",
	  "Two Sidecars with selectors are for one workload." },
	{ "KVM0111", E, "MultipleSidecarsWithoutWorkloadSelectors", "IST0111",
	  "Two Sidecars without selector in one namespace." },
	{ "KVM0112", W, "DestinationPortRequired", "IST0112",
	  "The destination has several ports and no port is given: the listener's is used where "
	  "the service has it." },
	{ "KVM0113", W, "MTLSPolicyConflict", "IST0113",
	  "Client and server disagree: plain text is sent to a STRICT workload, or mTLS to a "
	  "DISABLE one. Requests fail until DestinationRule and PeerAuthentication agree." },
	{ "KVM0114", W, "PolicyPortNotOnWorkload", "IST0114",
	  "A PeerAuthentication names a port that none of its workloads has; it takes workload "
	  "ports, not service ports." },
	{ "KVM0115", W, "MTLSForWorkloadOutsideMesh", "IST0115",
	  "ISTIO_MUTUAL is demanded of an endpoint that has no proxy." },
	{ "KVM0116", W, "WorkloadWithSeveralProtocols", "IST0116",
	  "Two services reach one port of a workload with different protocols." },
	{ "KVM0117", I, "WorkloadWithoutService", "IST0117",
	  "No service selects the workload: it can call, but not be called by name." },
	{ "KVM0118", I, "PortNameWithoutProtocol", "IST0118",
	  "Neither protocol nor name of the port tells what is spoken: it is found out from the "
	  "first bytes, which does not work for protocols where the server speaks first." },
	{ "KVM0127", W, "NoMatchingWorkloadsFound", "IST0127",
	  "The selector matches no workload." },
	{ "KVM0128", W, "ServerNotVerified", "IST0128",
	  "TLS without verification of the server: insecureSkipVerify is set." },
	{ "KVM0129", W, "ServerNotVerifiedAtPort", "IST0129",
	  "TLS without verification of the server at one port: insecureSkipVerify is set." },
	{ "KVM0130", W, "UnreachableRule", "IST0130",
	  "A route is never taken: one before it takes every request, or all its matches stand "
	  "before it." },
	{ "KVM0131", I, "IneffectiveMatch", "IST0131",
	  "A match never decides: an earlier one is the same or covers it." },
	{ "KVM0132", W, "HostNotFoundInGateway", "IST0132",
	  "No host of the VirtualService is served by the Gateway that it names." },
	{ "KVM0133", W, "SchemaWarning", "IST0133",
	  "A value is allowed but hardly what is meant." },
	{ "KVM0134", W, "ServiceEntryAddressesRequired", "IST0134",
	  "A TCP port of a ServiceEntry without addresses takes every connection to that port "
	  "number." },
	{ "KVM0137", W, "ConflictingPorts", "IST0137",
	  "Two services reach one port of a workload under different service ports." },
	{ "KVM0138", W, "DuplicateCertificate", "IST0138",
	  "Two servers use one certificate: a browser's HTTP/2 connection to one host is reused "
	  "for the other and gets 404." },
	{ "KVM0140", W, "SubsetsPassedBy", "IST0140",
	  "A VirtualService of a gateway leads to a whole service whose subsets another one uses for "
	  "callers inside the mesh: routes do not chain." },
	{ "KVM0143", W, "ReachableBesideTheMesh", "IST0143",
	  "A STRICT port of an application that listens beyond loopback: who reaches it there gets "
	  "past mTLS and policies." },
	{ "KVM0144", W, "UserOfKvmesh", "IST0144",
	  "A Workload is proved by one of kvmesh's own users: calls of a daemon would count as its." },
	{ "KVM0145", E, "ConflictingGateways", "IST0145",
	  "Two Gateways for the same workloads serve one host on one port." },
	{ "KVM0149", E, "JwtClaimRoutingWithoutRequestAuthentication", "IST0149",
	  "A route matches claims of a token, but no RequestAuthentication checks tokens at that "
	  "gateway." },
	{ "KVM0150", W, "DeprecatedField", "IST0002",
	  "An old form is used; the help of the field names the new one." },
	{ "KVM0159", E, "ConflictingTelemetryWorkloadSelectors", "IST0159",
	  "Two Telemetries with selectors are for one workload." },
	{ "KVM0160", E, "MultipleTelemetriesWithoutWorkloadSelectors", "IST0160",
	  "Two Telemetries without selector in one namespace." },
	{ "KVM0161", W, "InvalidGatewayCredential", "IST0161",
	  "The certificate of a Gateway's server cannot be used, has expired, or is not for its hosts: "
	  "connections to the server fail. Judged by kvmeshctl where it may read the files." },
	{ "KVM0173", W, "SubsetSelectsNoWorkload", "IST0173",
	  "No endpoint carries the labels of the subset: requests to it get 503 (no healthy "
	  "upstream)." },
	{ "KVM0174", W, "UnknownDestinationRuleHost", "IST0174",
	  "No service has the host of the DestinationRule." },
	{ "KVM0177", W, "ConflictingServiceEntryProtocol", "IST0177",
	  "Two ServiceEntries give one host and port different protocols." },
	/* ---- ours, across resources -------------------------------------------------------- */
	{ "KVM0201", W, "SeveralDestinationRules", "",
	  "Two DestinationRules of a namespace are for one host: they are merged, the older one's "
	  "trafficPolicy and subsets win." },
	{ "KVM0202", E, "ListenConflict", "", "Two listeners want one address and port." },
	{ "KVM0203", E, "AmbiguousIdentity", "",
	  "Two Workloads are proved by the same unit or user: the kernel could not tell which one "
	  "calls." },
	{ "KVM0204", I, "WorkloadWithoutProof", "",
	  "The Workload names neither unit nor user: it can be called, but its own calls travel as "
	  "an unregistered caller's." },
	{ "KVM0205", W, "SharedPort", "", "Two Workloads have the same address and port." },
	{ "KVM0206", W, "UnknownTargetPort", "",
	  "targetPort names a port that a selected workload does not have." },
	{ "KVM0208", I, "PolicyInWords", "", "What an empty list or selector means, in words." },
	{ "KVM0209", W, "ShadowedPolicy", "",
	  "Two PeerAuthentications have the same scope: the older one decides, the other is "
	  "ignored." },
	{ "KVM0210", I, "WeightsNotHundred", "",
	  "Weights are shares of their sum; here the sum is not 100." },
	{ "KVM0211", W, "ServerNotOpened", "",
	  "A server of a Gateway gets no connection: an older one has the port for another protocol, or "
	  "the same name on it." },
	{ "KVM0220", W, "UnknownSource", "",
	  "An AuthorizationPolicy names a principal or namespace that no workload has: the rule is "
	  "about nobody." },
	{ "KVM0221", W, "PolicyNeedsMTLS", "",
	  "A rule asks who calls, at a port that takes no mTLS: an ALLOW rule never fits there, "
	  "and not-conditions always do." },
	{ "KVM0222", I, "WorkloadWithoutPolicy", "",
	  "Other workloads have AuthorizationPolicies, this one has none: everybody may call it." },
	{ "KVM0223", I, "ProgramUnprovedOverTCP", "",
	  "A Workload names its executable: it gets certificates, but its calls through the proxy "
	  "travel as an unregistered caller's." },
	{ "KVM0230", W, "InvalidCountry", "",
	  "The country that a ServiceEntry declares is no code of ISO 3166; it counts as not declared." },
	{ "KVM0231", W, "CountryNotAllowed", "",
	  "egressPolicy refuses the calls to a ServiceEntry: its country is not allowed, or unknown." },
	{ "KVM0232", W, "CountryUnknown", "",
	  "egressPolicy allows no call to a ServiceEntry unless somebody says in which country it is." },
	{ "KVM0233", W, "CountryContradicted", "",
	  "The declared country of an address is another than a range's or the database's; both must "
	  "be allowed." },
	{ "KVM0234", W, "CountryDatabase", "",
	  "The database of countries cannot be used; proxies go on with the last one, or without." },
	/* ---- inside one resource ----------------------------------------------------------- */
	{ "KVM0301", E, "InvalidName", "IST0106",
	  "A name or namespace is not made of lower-case letters, digits and dashes (dots in "
	  "names)." },
	{ "KVM0302", E, "InvalidHost", "IST0106",
	  "A host is no DNS name; a wildcard must be the whole first label." },
	{ "KVM0303", E, "InvalidLabel", "IST0106",
	  "A label has an empty key, a wildcard, or more than 63 characters." },
	{ "KVM0305", E, "InvalidDuration", "IST0106",
	  "A duration must be whole milliseconds, and here not zero." },
	{ "KVM0306", E, "InvalidPercentage", "IST0106",
	  "A percentage must be 0 or between 0.0001 and 100." },
	{ "KVM0307", E, "InvalidHeader", "IST0106",
	  "A header has a name or value that HTTP does not allow, or one that may not be changed; "
	  "'%' must pair up." },
	{ "KVM0308", E, "InvalidRegex", "IST0106",
	  "The expression is outside RE2 or longer than 1024 bytes: no look-around, "
	  "back-references, atomic groups." },
	{ "KVM0309", E, "InvalidAddress", "IST0106",
	  "Not an IP address, CIDR, unix: path or ADDRESS:PORT." },
	{ "KVM0310", E, "InvalidExportTo", "IST0106",
	  "exportTo takes '.', '*' alone, or names of namespaces, each once." },
	{ "KVM0311", E, "InvalidPortName", "IST0106",
	  "Names and numbers of ports must be unique; a name is a DNS label." },
	{ "KVM0312", E, "InvalidMatch", "IST0106",
	  "A matcher is empty where it must not be, or has an unknown name." },
	{ "KVM0320", E, "VirtualServiceShape", "IST0106",
	  "A VirtualService needs hosts and at least one of http, tls and tcp; '*' is for gateways "
	  "only; hosts may not overlap." },
	{ "KVM0321", E, "RouteAction", "IST0106",
	  "An HTTP route needs exactly one of route, redirect, directResponse and delegate." },
	{ "KVM0322", E, "RouteCombination", "IST0106",
	  "redirect and directResponse exclude fault and rewrite; mirror excludes mirrors." },
	{ "KVM0323", E, "Redirect", "IST0106",
	  "A redirect needs something to change; prefixRewrite needs prefix matches; scheme is "
	  "http or https." },
	{ "KVM0324", E, "Rewrite", "IST0106",
	  "A rewrite needs uri, uriRegexRewrite or authority, and only one of the first two." },
	{ "KVM0325", E, "Retries", "IST0106",
	  "attempts 0 excludes every other field; retryOn takes Istio's conditions and status "
	  "codes." },
	{ "KVM0326", E, "Fault", "IST0106",
	  "A fault needs delay or abort, each with its kind; gRPC status by name." },
	{ "KVM0327", E, "Cors", "IST0106",
	  "Origins need a matcher, methods must exist, maxAge is whole seconds." },
	{ "KVM0329", E, "SniHosts", "IST0106",
	  "Each of sniHosts must be one of the hosts or below one." },
	{ "KVM0330", E, "Weights", "IST0106", "Several destinations whose weights are all 0." },
	{ "KVM0331", E, "DirectResponseBody", "IST0106", "The body is longer than 1 MiB." },
	{ "KVM0340", E, "TrafficPolicy", "IST0106",
	  "A policy needs at least one block; tunnel excludes proxyProtocol." },
	{ "KVM0341", E, "Subsets", "IST0106", "Subset names must be unique DNS labels." },
	{ "KVM0342", E, "LoadBalancer", "IST0106",
	  "A hash needs a key; table sizes, locality weights and warmup have bounds." },
	{ "KVM0343", E, "ConnectionPool", "IST0106",
	  "connectionPool needs tcp or http; UPGRADE excludes useClientProtocol." },
	{ "KVM0344", E, "OutlierDetection", "IST0106",
	  "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors." },
	{ "KVM0345", E, "ClientTls", "IST0106",
	  "MUTUAL needs certificate and key; ISTIO_MUTUAL takes none; insecureSkipVerify excludes "
	  "authorities and names." },
	{ "KVM0350", E, "ServiceEntry", "IST0106",
	  "Hosts, ports and addresses of a ServiceEntry do not fit together." },
	{ "KVM0351", E, "ServiceEntryEndpoints", "IST0106",
	  "Endpoints do not fit the resolution: NONE takes none, STATIC addresses, DNS names." },
	{ "KVM0352", E, "WorkloadEntry", "IST0106",
	  "A WorkloadEntry needs an address; unix: takes no ports." },
	{ "KVM0360", E, "Service", "IST0106", "A Service needs ports; several ports need names." },
	{ "KVM0361", E, "Workload", "IST0106",
	  "A Workload is proved by a unit or a user, not both; CPU, memory, account and probe have "
	  "their forms." },
	{ "KVM0370", E, "Gateway", "IST0106",
	  "A server needs a port with name and known protocol, and hosts." },
	{ "KVM0371", E, "GatewayTls", "IST0106",
	  "TLS of a server does not fit its protocol or lacks certificate or key." },
	{ "KVM0380", E, "Sidecar", "IST0106",
	  "Listeners of a Sidecar contradict each other or are incomplete." },
	{ "KVM0390", E, "PeerAuthentication", "IST0106", "portLevelMtls needs a selector." },
	{ "KVM0391", E, "RequestAuthentication", "IST0106",
	  "A rule needs issuer or jwksUri; keys must be a JWK set; URLs are http, https or file." },
	{ "KVM0392", E, "AuthorizationPolicy", "IST0106",
	  "DENY and CUSTOM need rules; from, to, conditions and values may not be empty; provider "
	  "goes with CUSTOM, which may not look at identities; keys and path templates have their "
	  "forms." },
	{ "KVM0393", E, "Telemetry", "IST0106", "UPSERT needs a value, REMOVE takes none." },
	{ "KVM0395", E, "Settings", "", "A setting of kvmesh.conf has a value that cannot work." },
	/* ---- what kvmesh does with it ------------------------------------------------------ */
	{ "KVM0900", I, "NotEnforcedYet", "",
	  "The field or kind is read and checked, but has no effect in this version." },
	{ "KVM0901", I, "WithoutMeaningHere", "",
	  "The field is accepted so that files for Kubernetes load; it has no meaning on a VPS." },
	{ "KVM0902", I, "OwnExtension", "",
	  "A value that kvmesh has and Istio has not: Istio refuses the resource." },
	{ NULL, E, NULL, NULL, NULL },
};

const struct check_rule *check_rule_find(struct str code)
{
	for (const struct check_rule *r = check_rules; r->code != NULL; r++)
		if (str_eq(code, str_c(r->code)))
			return r;
	return NULL;
}
