# SPDX-License-Identifier: Apache-2.0
# The suites in Python travel whole; "dist-hook" at the top leaves out what running them left behind.
EXTRA_DIST += %D% tests/lib tests/demo
