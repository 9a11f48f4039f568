"""The files that forges, editors and hooks read name what is there: no forge is needed to see that."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from .addresses import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HABITS = [
    *(file for folder in (".github", ".devcontainer") for file in sorted((ROOT / folder).rglob("*")) if file.is_file()),
    *(ROOT / name for name in (".pre-commit-config.yaml", ".editorconfig", ".readthedocs.yaml")),
]
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
each_habit = pytest.mark.parametrize("file", HABITS, ids=lambda path: str(path.relative_to(ROOT)))


def text(path: str | Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def content(path: str | Path) -> Any:
    return yaml.safe_load(text(path))


def targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):.*## ", text("Makefile"), re.MULTILINE))


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in content(workflow)["jobs"].values() for step in job["steps"]]


@each_workflow
def test_actions_are_pinned(workflow: Path) -> None:
    used = re.findall(r"\buses: (.+)", text(workflow))
    assert len(used) > 1
    assert [each for each in used if not PINNED.fullmatch(each)] == []


@each_workflow
def test_a_job_may_only_do_what_it_needs(workflow: Path) -> None:
    assert content(workflow)["permissions"] == {}
    for job in content(workflow)["jobs"].values():
        assert job["permissions"]
        # What runs the code of others may not write.
        if any("make" in step.get("run", "") for step in job["steps"]):
            assert job["permissions"] == {"contents": "read"}
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    assert "secrets." not in text(workflow)


def test_every_check_is_a_job() -> None:
    """They are those of ``.ci/run``, and the quick one; nobody waits for all of them to see which fails."""
    (job,) = content(".github/workflows/ci.yml")["jobs"].values()
    jobs = [(each["target"], each.get("tags")) for each in job["strategy"]["matrix"]["include"]]
    ours = {(target, None) for target in re.findall(r"^[^#\n]*\bmake (\w+)", text(".ci/run"), re.MULTILINE)}
    assert set(jobs) - {("unit", None), ("matrix", "oldest"), ("matrix", "newest")} == ours - {("matrix", None)}
    assert len(jobs) == len(ours) + 2
    assert {target for target, _ in jobs} <= targets()


def test_what_is_published_was_made_by_the_release_command() -> None:
    jobs = content(".github/workflows/release.yml")["jobs"]
    assert [step["run"] for step in jobs["build"]["steps"] if "run" in step] == ["make release"]
    assert [jobs[name].get("needs") for name in ("attest", "publish", "announce")] == ["build", "attest", "publish"]
    assert jobs["publish"]["environment"]


def test_hooks_run_what_the_checks_run() -> None:
    (repository,) = content(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        program, *arguments = hook["entry"].split()
        assert hook["language"] == "system"
        name = program.removeprefix(".venv/bin/")
        assert Path(sysconfig.get_path("scripts"), name).exists()
        assert f"$(BIN)/{' '.join([name, *arguments[:1]])}" in text("Makefile")


def test_the_site_is_built_with_extras_that_exist() -> None:
    site = content(".readthedocs.yaml")
    (install,) = site["build"]["jobs"]["install"]
    extras = re.search(r"\[([\w,]+)\]", install)
    assert extras
    assert set(extras[1].split(",")) <= set(tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"])
    assert (ROOT / site["sphinx"]["configuration"]).exists()
    assert site["sphinx"]["fail_on_warning"] is True


def test_the_container_installs_as_make_does() -> None:
    command = json.loads(text(".devcontainer/devcontainer.json"))["postCreateCommand"]
    assert f"$(VENV)/{command.removeprefix('make .venv/')}:" in text("Makefile")


def test_forms_ask_for_each_thing_once() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 2
    for form in forms:
        asked = [each["id"] for each in content(form)["body"] if each["type"] != "markdown"]
        assert len(asked) == len(set(asked))
        assert all(each["attributes"].get("label") or each["type"] == "markdown" for each in content(form)["body"])


@each_habit
def test_no_index_and_no_machine_is_named(file: Path) -> None:
    assert not re.search(r"pypi\.org|pythonhosted|index-url|(?<![\w.])/(?:home|root|work|tmp|Users)/", text(file))


def test_every_file_is_as_editors_are_asked_to_leave_it() -> None:
    rules = configparser.ConfigParser()
    rules.read_string(f"[root]\n{text('.editorconfig')}")
    assert rules["*"]["insert_final_newline"] == rules["*"]["trim_trailing_whitespace"] == "true"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [name for name in filter(None, tracked.split("\0")) if not is_tidy(ROOT / name)] == []


def is_tidy(file: Path) -> bool:
    """Whether a text keeps to ``.editorconfig``; what is no text does."""
    data = file.read_bytes() if file.is_file() else b""
    *lines, last = data.decode("utf-8").split("\n") if b"\0" not in data else [""]
    indented_by_tabs = file.name != "Makefile" and any(line.startswith("\t") for line in lines)
    return not last and not indented_by_tabs and all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("text", ["no end", "blank \n", "two\r\n", "\ttab\n"])
def test_an_untidy_file_is_seen(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_bytes(text.encode())
    assert not is_tidy(tmp_path / "page.md")
