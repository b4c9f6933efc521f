# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import kvmesh  # noqa: E402


@pytest.fixture
def workdir(tmp_path):
    """A directory that daemons of other users can pass through."""
    for p in [tmp_path, *tmp_path.parents]:
        if str(p).startswith("/tmp/"):
            p.chmod(p.stat().st_mode | 0o055)
    return tmp_path


@pytest.fixture
def article(workdir):
    """The article's example, started."""
    with kvmesh.Article(workdir) as a:
        yield a.start()


@pytest.fixture(scope="module")
def shared_article(tmp_path_factory):
    """One started article example (with Redis and an access log) for the read-only tests of a module."""
    directory = tmp_path_factory.mktemp("article")
    with kvmesh.Article(directory, redis=True, conf='accessLogFile = "/dev/stdout";') as a:
        yield a.start()
