# SPDX-License-Identifier: Apache-2.0
# ./dev soak: minutes of everything at once; tests/wire/test_soak.py runs half a minute of it.
EXTRA_DIST += %D%/soak.py
