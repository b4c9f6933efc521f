# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/gateway.md %D%/residency.md
EXTRA_DIST += %D%/workload-api.md
dist_man_MANS += \
	%D%/man/kvmeshctl.1 \
	%D%/man/kvmesh-resources.5 \
	%D%/man/kvmesh.conf.5 \
	%D%/man/kvmesh.7 \
	%D%/man/kvmesh-ca.8 \
	%D%/man/kvmesh-generator.8 \
	%D%/man/kvmesh-metrics.8 \
	%D%/man/kvmesh-nft.8 \
	%D%/man/kvmesh-probe.8 \
	%D%/man/kvmesh-witness.8 \
	%D%/man/kvmesh-proxy.8 \
	%D%/man/kvmesh-router.8
EXTRA_DIST += \
	%D%/ARCHITECTURE.md %D%/HACKING.md %D%/IPC.md %D%/STYLE.md %D%/THREATS.md \
	%D%/analysis.md %D%/authorization.md %D%/bad-input.md %D%/ca.md %D%/canary.md %D%/capture.md %D%/compliance.md %D%/destinations.md %D%/dns.md %D%/egress.md %D%/explain.md %D%/gateway.md %D%/health.md %D%/http2.md %D%/inject.md %D%/install.md %D%/istio-compat.md %D%/nodes.md %D%/overload.md %D%/strict.md %D%/tokens.md %D%/troubleshooting.md %D%/upgrade.md \
	%D%/layers.txt
