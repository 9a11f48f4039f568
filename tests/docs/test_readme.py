"""What the README promises of Airflows and of installing is what the other pages, and the tests, know."""

from __future__ import annotations

import re

from .documentation import PAGES, name_of, read
from .test_docs import rows


def test_the_table_of_airflows_is_part_of_the_whole_one() -> None:
    said = rows("README.md", "Which Airflow")
    assert len(said) > 3
    assert [row for row in said if row not in rows("docs/airflow-versions.md", "What each Airflow gives")] == []


def test_the_airflows_that_it_names_are_those_of_the_matrix() -> None:
    (named,) = re.findall(r"^Tested with (.+?),? on Python", read("README.md"), re.MULTILINE)
    matrix = read("noxfile.py")
    assert set(re.findall(r"\d[\w.]+\d", named)) == {
        *re.findall(r'"([\d.]+)": "\d{4}-', matrix),
        *re.findall(r'^(?:NEWEST|COMING) = "(.+)"', matrix, re.MULTILINE),
    }


def test_an_index_is_named_once_there_is_a_release() -> None:
    """Until then no page may promise one; from then on none may say that there is none."""
    is_released = "## [0.1.0] - Unreleased" not in read("CHANGELOG.md")
    wrong = (
        r"no package index has it|not on an index yet|Not yet\. Install"
        if is_released
        else r"pip install \S*airflow-provider"
    )
    assert [name_of(page) for page in PAGES if re.search(wrong, read(page))] == []


def test_it_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 105
