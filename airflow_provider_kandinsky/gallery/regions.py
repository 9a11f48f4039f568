"""Regions of a run: since Airflow 3.4 each task loop and each mapped task has one.

The iterations of a loop share task and map index; Airflow's API needs their region's id and the index in it with each
call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_provider_kandinsky.gallery.coerce import integer, mapping, text

_QUERY: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(-1|[0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Region:
    """A region of a run, and an index in it.

    :param iteration: the loop's, from 0. ``None`` for a mapped task's region, and if it is not known.
    """

    id: str
    index: int
    iteration: int | None = None

    @classmethod
    def from_api(cls, instance: Mapping[str, Any]) -> Region | None:
        """That of the REST API's task instance; ``None`` if it has none."""
        region_id, index = text(instance.get("region_id")), integer(instance.get("region_index"))
        if region_id is None or index is None:
            return None
        return cls(region_id, index, integer(mapping(instance.get("loop_iteration")).get("iteration")))

    @classmethod
    def from_query(cls, query: str) -> Region | None:
        """That of a gallery's URL; ``None`` if it is none."""
        parts = _QUERY.fullmatch(query)
        return cls(parts[1], int(parts[2])) if parts else None

    def __str__(self) -> str:
        """As :func:`.compat.loops.loop_region`."""
        return f"{self.id}.{self.index}"


def region_parameters(region: Region | None) -> dict[str, Any]:
    """What Airflow's API takes besides the map index."""
    return {} if region is None else {"region_id": region.id, "region_index": region.index}
