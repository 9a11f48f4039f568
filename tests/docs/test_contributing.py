"""The commands that CONTRIBUTING names exist, and CI runs them."""

from __future__ import annotations

import re

from .documentation import read

#: What takes too long for every change.
LONG = {"mutants", "benchmarks"}
#: What is part of another command.
PART = {"unit"}
#: What needs a key, and costs money.
PAID = {"live"}


def named() -> set[str]:
    return set(re.findall(r"^\| `make (\w+)`", read("CONTRIBUTING.md"), re.MULTILINE))


def test_every_command_is_one_of_the_makefiles() -> None:
    assert len(named()) > 8
    assert named() <= set(re.findall(r"^(\w+):.*## ", read("Makefile"), re.MULTILINE))


def test_the_unit_tests_are_the_folders_of_the_matrix() -> None:
    folders = re.search(r"UNIT_TESTS := \$\(addprefix tests/,([\w\s\\]+)\)", read("Makefile"))
    assert folders
    lists = re.findall(
        r"^(?:UNIT_TESTS|TESTS_WITHOUT_AIRFLOW) = \((.*?)\)", read("noxfile.py"), re.MULTILINE | re.DOTALL
    )
    assert set(folders[1].replace("\\", "").split()) == set(re.findall(r'"(\w+)"', " ".join(lists)))


def test_the_first_command_is_the_one_for_every_change() -> None:
    assert re.findall(r"^\| `make (\w+)`", read("CONTRIBUTING.md"), re.MULTILINE)[0] == "unit"


def test_ci_runs_every_command_but_the_long_ones() -> None:
    run = set(re.findall(r"^[^#\n]*\bmake (\w+)", read(".ci/run"), re.MULTILINE))
    assert run == named() - LONG - PART - PAID
    assert 'make matrix TAGS="oldest newest"' in read(".ci/run")
