"""Where the docs say what to do about an error.

The docs' address stands in the package's metadata alone. It is read when an error is reported, never when a DAG file is
parsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import metadata
from typing import Final

_DISTRIBUTION: Final = "airflow-provider-kandinsky"
#: The page with a section for each error type. Sphinx and GitHub make the same anchors of its headings.
_PAGE: Final = "errors.html"
#: Hosts that are reserved for examples: the docs have no address yet.
_PLACEHOLDERS: Final = ("//example.", ".example/", "//localhost")


@cache
def documentation_url() -> str | None:
    """The address of the docs; ``None`` if the package names none, or a placeholder."""
    try:
        return find_documentation_url(metadata.metadata(_DISTRIBUTION).get_all("Project-URL") or ())
    except (metadata.PackageNotFoundError, OSError, ValueError):
        # It was copied to where it is, or its metadata cannot be read; the error that is reported matters more.
        return None


def find_documentation_url(project_urls: Iterable[str]) -> str | None:
    """The address of the docs among a distribution's URLs.

    :param project_urls: as its metadata has them: ``"Documentation, https://…"``.
    :return: with a slash at the end; ``None`` if there is none, or a placeholder.
    """
    for each in project_urls:
        label, _, url = each.partition(", ")
        url = f"{url.strip().rstrip('/')}/"
        if label == "Documentation" and url.startswith("https://") and not any(part in url for part in _PLACEHOLDERS):
            return url
    return None


def error_url(error_type: str, documentation: str | None) -> str | None:
    """The section of the docs about an error type.

    :param error_type: the name of a class of :mod:`airflow_provider_kandinsky.exceptions`.
    :param documentation: see :func:`documentation_url`.
    :return: ``None`` if the docs have no address.
    """
    return f"{documentation}{_PAGE}#{error_type.lower()}" if documentation else None


def name_error_section(error_type: str, documentation: str | None) -> str:
    """Where a reader finds what to do about an error type: the URL, or the name of the page."""
    return error_url(error_type, documentation) or f'section {error_type} of the page "Errors" in the docs'
