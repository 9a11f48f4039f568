"""OpenLineage: the requests of a task, their cost, and where their images are.

Airflow's OpenLineage provider reads it in a fork of the process in which the task ends. A fork cannot read XComs, so
the task keeps its lineage in memory. The provider may not be installed, so it is imported only when it calls.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow.configuration import conf

from airflow_provider_kandinsky.segmind.schemas import GenerationResult

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

log = logging.getLogger(__name__)

#: Schemes that OpenLineage knows by another name.
_SCHEMES: Final = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}


@dataclass(frozen=True, slots=True)
class Lineage:
    """The requests of a task and their images.

    :param model: the slug, if known.
    :param cost: dollars in total, as far as known.
    :param generations: a mapping for each request: ``request_id``, ``seed``, ``cost`` and ``prompt``, as far as known,
        ``error``, the type, if it failed, and ``reused`` if its images were stored and nothing was submitted.
    :param uris: of the images, or of a manifest of them.
    """

    model: str | None
    cost: float | None
    generations: Sequence[Mapping[str, Any]]
    uris: Sequence[str]

    @classmethod
    def of_request(cls, request_id: str, model: str | None = None, prompt: str | None = None) -> Lineage:
        """The lineage of a job that is not finished."""
        return cls(model, None, [{"request_id": request_id, "prompt": prompt}], [])

    @classmethod
    def of(
        cls, result: GenerationResult, uris: Sequence[str], prompt: str | None = None, *, reused: bool = False
    ) -> Lineage:
        """The lineage of a finished job.

        :param reused: whether its images were stored, and nothing was submitted.
        """
        generation = {"request_id": result.request_id, "seed": result.seed, "cost": result.cost, "prompt": prompt}
        if reused:
            generation["reused"] = True
        return cls(result.model, result.cost, [generation], uris)


class OpenLineageMixin:
    """A task with lineage, to be inherited beside its operator."""

    #: Set in the process in which the task ends.
    lineage: Lineage | None = None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Called by Airflow when the task has succeeded or failed. Errors are logged, and never fail the task."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        try:
            if self.lineage is not None:
                with_prompts = conf.getboolean("kandinsky", "lineage_includes_prompt", fallback=False)
                return facets(self.lineage, with_prompts=with_prompts)
        except Exception:  # a wrong setting, another version of OpenLineage, an invalid URL
            log.warning("Could not emit the lineage of the task", exc_info=True)
        return OperatorLineage()


def facets(lineage: Lineage, *, with_prompts: bool) -> OperatorLineage[Any, Any]:
    """Convert to OpenLineage's types.

    :param with_prompts: whether to include the prompts.
    """
    import attr
    from airflow.providers.common.compat.openlineage.facet import OutputDataset, RunFacet
    from airflow.providers.openlineage.extractors import OperatorLineage

    @attr.define
    class KandinskyRunFacet(RunFacet):
        model: str | None
        cost: float | None
        generations: list[dict[str, Any]]

    hidden = () if with_prompts else ("prompt",)
    generations = [
        {name: value for name, value in each.items() if value is not None and name not in hidden}
        for each in lineage.generations
    ]
    return OperatorLineage(
        outputs=[OutputDataset(*dataset_name(uri)) for uri in lineage.uris],
        run_facets={"kandinsky": KandinskyRunFacet(lineage.model, lineage.cost, generations)},
    )


def dataset_name(uri: str) -> tuple[str, str]:
    """The namespace and name of a file in OpenLineage.

    Without the connection of an object storage, and without the signature of a URL.
    """
    parts = urlsplit(uri)
    netloc = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("", "file"):
        return f"file://{netloc}" if netloc else "file", parts.path
    return f"{_SCHEMES.get(parts.scheme, parts.scheme)}://{netloc}", parts.path.lstrip("/")
