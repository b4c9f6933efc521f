# SPDX-License-Identifier: Apache-2.0
# ./dev soak: minutes of everything at once; tests/wire/test_soak.py runs half a minute of it. leaf.py: certificates of a minute.
EXTRA_DIST += %D%/leaf.py %D%/soak.py
