# SPDX-License-Identifier: Apache-2.0
"""docs/istio-compat.md says what the field tables say."""

import compat
import pytest


@pytest.fixture(scope="module")
def page():
    return compat.page()


def test_the_page_is_what_the_tables_say(page):
    assert compat.PAGE.read_text() == page, "make it anew: python3 tests/lib/compat.py --write"


def test_every_field_that_does_not_work_says_why(page):
    lines = [x for x in page.splitlines() if x.startswith("| `")]
    assert len(lines) > 400
    for line in lines:
        assert line.endswith(" works |") or line.split(": ", 1)[1].strip(" |"), line


def test_every_field_that_works_is_in_a_golden_case():
    assert compat.without_golden_case() == []
