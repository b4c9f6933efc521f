# SPDX-License-Identifier: Apache-2.0
# Configuration in, model and findings out; golden.c says how a case looks.
check_PROGRAMS += %D%/golden
TESTS += %D%/golden
%C%_golden_SOURCES = %D%/golden.c
%C%_golden_LDADD = $(KV_CONFIG_LDADD)
EXTRA_DIST += %D%
