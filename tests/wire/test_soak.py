# SPDX-License-Identifier: Apache-2.0
"""Half a minute of what ./dev soak does for ten: whether memory grows is not to be seen in so short a time."""

import sys

import kvmesh

sys.path.insert(0, str(kvmesh.TOP / "tests/soak"))
import soak  # noqa: E402


def test_nothing_fails_while_everything_changes(workdir):
    s = soak.Soak(workdir, seed=2)
    try:
        s.start()
        done, failures = s.run(20, 200)
    finally:
        s.stop()
    assert failures == [] and done > 100
    assert sum(s.counts.values()) >= 5, s.counts
