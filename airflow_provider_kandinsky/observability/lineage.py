"""What a task tells OpenLineage: which requests it made, at what cost, and where their pictures are.

Airflow's OpenLineage provider asks for it in the process that a task ends in, forked off: what it is told must be at
hand there, for a fork cannot ask Airflow for XComs. That provider may not be installed, so it is imported only where
it is the one to call.
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
    """What a task has made.

    :param model: the slug, where it is known.
    :param cost: dollars in all, as far as the service has told them.
    :param generations: a mapping for each request: ``request_id``, ``seed``, ``cost`` and ``prompt``, as far as known,
        and ``error``, the type, if it has failed.
    :param uris: where the pictures are, or a manifest of them.
    """

    model: str | None
    cost: float | None
    generations: Sequence[Mapping[str, Any]]
    uris: Sequence[str]

    @classmethod
    def of_request(cls, request_id: str, model: str | None = None, prompt: str | None = None) -> Lineage:
        """The lineage of a job of which nothing is known yet."""
        return cls(model, None, [{"request_id": request_id, "prompt": prompt}], [])

    @classmethod
    def of(cls, result: GenerationResult, uris: Sequence[str], prompt: str | None = None) -> Lineage:
        """The lineage of a finished job."""
        generation = {"request_id": result.request_id, "seed": result.seed, "cost": result.cost, "prompt": prompt}
        return cls(result.model, result.cost, [generation], uris)


class OpenLineageMixin:
    """For a task to inherit, beside its operator."""

    #: To be set by the process that the task ends in.
    lineage: Lineage | None = None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """What is called when the task has ended, well or not. Whatever goes wrong is logged, and not its problem."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        try:
            if self.lineage is not None:
                with_prompts = conf.getboolean("kandinsky", "lineage_includes_prompt", fallback=False)
                return facets(self.lineage, with_prompts=with_prompts)
        except Exception:  # of the settings, of another version of OpenLineage, of a URL that is none
            log.warning("The lineage of the task could not be emitted", exc_info=True)
        return OperatorLineage()


def facets(lineage: Lineage, *, with_prompts: bool) -> OperatorLineage[Any, Any]:
    """A task's lineage, as OpenLineage has it.

    :param with_prompts: whether the prompts may leave Airflow.
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
    """The namespace and the name that OpenLineage has for a file.

    What is no part of its name is left out: the connection of an object storage, the signature of a URL.
    """
    parts = urlsplit(uri)
    place = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("", "file"):
        return f"file://{place}" if place else "file", parts.path
    return f"{_SCHEMES.get(parts.scheme, parts.scheme)}://{place}", parts.path.lstrip("/")
