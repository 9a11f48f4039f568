"""How Sphinx makes a site of these pages; ``make docs`` runs it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# The reference is read from the imported code, and Airflow writes into its home when it is imported.
_airflow_home = tempfile.TemporaryDirectory(prefix="airflow-home-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _airflow_home.name

from airflow.sdk import XComArg  # noqa: E402  Airflow's home comes first

from airflow_provider_kandinsky import __version__, types  # noqa: E402

# These import the types for type checkers alone, and a signature is resolved as a whole or not at all.
for _module in ("operators.text_to_image", "operators.text_to_image_batch", "sensors.job"):
    vars(import_module(f"airflow_provider_kandinsky.{_module}")).update(
        XComArg=XComArg, BatchRequest=types.BatchRequest, ImageSide=types.ImageSide, Scheduler=types.Scheduler
    )

project = "airflow-provider-kandinsky"
release = version = __version__
# No year: it would be another site every January.
copyright = "the authors of airflow-provider-kandinsky, Apache License 2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc"]

# The pages are read on GitHub as well, so their links go to headings as GitHub names them.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
maximum_signature_line_length = 88
add_module_names = False
python_use_unqualified_type_names = True

# Every name in a docstring has to lead somewhere, but for what is documented elsewhere, or for nobody but us.
nitpicky = True
_elsewhere = r"(airflow|collections|datetime|enum|httpx|pathlib|pydantic|pydantic_core|socket|types|weakref)\..*"
_not_public = (
    r"(airflow_provider_kandinsky\.|\.)?(segmind\.)?((http|waiting)\.)?"
    r"(api|call|downloads|durable|exchange|retry|sender|results|wire)(\..*)?"
)
_imported_only_for_types = (
    r"(Connection|Context|AirflowFailException|AirflowSensorTimeout|TaskDecorator|ReviewDefaults|timedelta|HITLUser|"
    r"BaseNotifier|HITLTimeoutError|airflow_provider_kandinsky\.(links\.kandinsky\.TaskInstanceName|segmind\.http\.client\.T))"
)
nitpick_ignore_regex = [("py:.*", names) for names in (_elsewhere, _not_public, _imported_only_for_types)]

html_theme = "furo"
html_title = "airflow-provider-kandinsky"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["start.css"]


def write_for_assistants(app: Sphinx, error: Exception | None) -> None:
    """Write ``llms.txt``, a list of the Markdown pages and how each begins, and ``llms-full.txt``, which has all.

    :param error: what ended the build, if anything did.
    """
    if error or app.builder.format != "html":
        return
    names = [name for name in _in_order(app.env, "index") if app.env.doc2path(name).suffix == ".md"]
    lines = [f"# {project} {release}", "", f"> {_beginning(app.env, 'index')}", "", "## Pages", ""]
    lines += [f"- [{app.env.titles[name].astext()}]({name}.html): {_beginning(app.env, name)}" for name in names]
    Path(app.outdir, "llms.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    pages = [f"<!-- {name}.md -->\n\n{app.env.doc2path(name).read_text(encoding='utf-8')}" for name in names]
    Path(app.outdir, "llms-full.txt").write_text("\n".join(pages), encoding="utf-8")


def _beginning(env: BuildEnvironment, name: str) -> str:
    """The first two sentences of a page's first paragraph."""
    paragraph = env.get_doctree(name).next_node(nodes.paragraph)
    return ". ".join(" ".join(paragraph.astext().split()).split(". ")[:2])


def _in_order(env: BuildEnvironment, name: str) -> Iterator[str]:
    yield name
    for child in env.toctree_includes.get(name, ()):
        yield from _in_order(env, child)


def setup(app: Sphinx) -> None:
    """Have it written after each build."""
    app.connect("build-finished", write_for_assistants)
