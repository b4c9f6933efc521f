# SPDX-License-Identifier: Apache-2.0
include tests/unit/base.mk
include tests/unit/doc.mk
include tests/unit/http.mk
include tests/unit/io.mk
include tests/unit/ipc.mk
include tests/unit/snap.mk
include tests/unit/core.mk
include tests/unit/config.mk
include tests/unit/proxy.mk
include tests/unit/observe.mk
include tests/unit/daemons.mk
include tests/golden/local.mk
include tests/fuzz/local.mk
include tests/wire/local.mk
include tests/node/local.mk
include tests/bench/local.mk
include tests/soak/local.mk

TESTS += %D%/layers.sh %D%/sizes.sh
EXTRA_DIST += %D%/layers.sh %D%/sizes.sh
