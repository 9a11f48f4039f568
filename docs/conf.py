"""How Sphinx makes a site of these pages; ``make docs`` runs it."""

from __future__ import annotations

import os
import tempfile
from importlib import import_module

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
