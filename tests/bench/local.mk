# SPDX-License-Identifier: Apache-2.0
# Load generators and microbenchmarks: bench.py makes them when it needs them.
EXTRA_PROGRAMS += %D%/match %D%/openload %D%/tcpload %D%/scale
CLEANFILES += %D%/match %D%/openload %D%/tcpload %D%/scale
%C%_match_SOURCES = %D%/match.c
%C%_match_LDADD = $(KV_CORE_LDADD)
%C%_openload_SOURCES = %D%/openload.c
%C%_tcpload_SOURCES = %D%/tcpload.c
%C%_scale_SOURCES = %D%/scale.c
%C%_scale_LDADD = libkvconfig.a $(KV_CORE_LDADD)

EXTRA_DIST += %D%/README.md %D%/bench.py %D%/callgrind.py %D%/drivers.py %D%/idle.py %D%/proc.py %D%/report.py %D%/scale.py %D%/suite.py \
	%D%/stack.py %D%/stack_envoy.py %D%/stack_haproxy.py %D%/stack_kvmesh.py %D%/stack_nghttpx.py %D%/stack_nginx.py
