"""The commands that CONTRIBUTING names exist, and CI runs them."""

from __future__ import annotations

import re

from .documentation import read

#: What takes too long for every change.
LONG = {"mutants", "benchmarks"}


def named() -> set[str]:
    return set(re.findall(r"^\| `make (\w+)`", read("CONTRIBUTING.md"), re.MULTILINE))


def test_every_command_is_one_of_the_makefiles() -> None:
    assert len(named()) > 8
    assert named() <= set(re.findall(r"^(\w+):.*## ", read("Makefile"), re.MULTILINE))


def test_ci_runs_every_command_but_the_long_ones() -> None:
    run = set(re.findall(r"^[^#\n]*\bmake (\w+)", read(".ci/run"), re.MULTILINE))
    assert run == named() - LONG
    assert "make matrix TAGS=oldest" in read(".ci/run")
