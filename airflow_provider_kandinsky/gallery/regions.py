"""Where a task instance is in a task loop (Airflow 3.4), whose iterations share task and map index.

Airflow's API needs it with each call for such a task instance, and its region's id and index give it.
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

    :param iteration: the loop's, from 0, if it is known.
    """

    id: str
    index: int
    iteration: int | None = None

    @classmethod
    def from_api(cls, instance: Mapping[str, Any]) -> Region | None:
        """That of the REST API's task instance; ``None`` if it is in no loop."""
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
