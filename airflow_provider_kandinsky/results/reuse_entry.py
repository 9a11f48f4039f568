"""An entry of the index of stored images. It is text from elsewhere when it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from airflow_provider_kandinsky.results.file_names import is_below, location
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, parse_request_id
from airflow_provider_kandinsky.segmind.wire.values import amount_in, integer_in

_MAX_IMAGES: Final = 100
#: What reading text from elsewhere raises, if it is no entry.
NO_ENTRY: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """What the index knows of a request whose images are there.

    :param uris: of the images, in the service's order, with the connection id of the one who reads.
    :param sizes: of the images, in bytes.
    :param cost: dollars, what the images did cost; ``None`` if unknown.
    """

    request_id: str
    uris: list[str]
    sizes: list[int]
    model: str | None = None
    seed: int | None = None
    cost: float | None = None

    def result(self) -> GenerationResult:
        """The result as it is delivered again: at no cost."""
        return GenerationResult(request_id=self.request_id, images=(), model=self.model, seed=self.seed, cost=0.0)

    def to_entry(self) -> dict[str, Any]:
        """What :func:`read_entry` reads."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "seed": self.seed,
            "cost": self.cost,
            "uris": [location(uri) for uri in self.uris],
            "sizes": self.sizes,
        }


def read_entry(entry: Any, folder: str) -> StoredRequest:
    """Check an entry.

    :param folder: the URI of the folder that its files have to be in, as the reader writes it.
    :raises ValueError: it is none, or names files outside of the folder; or another error of :data:`NO_ENTRY`.
    """
    request_id, uris, sizes = parse_request_id(entry["request_id"]), entry["uris"], entry["sizes"]
    if request_id is None or not isinstance(uris, list) or not isinstance(sizes, list):
        raise ValueError("it has no request id, or no list of files")
    if not 0 < len(uris) == len(sizes) <= _MAX_IMAGES or not all(type(size) is int for size in sizes):
        raise ValueError("its files and their sizes do not match")
    model = entry.get("model")
    start = f"{location(folder)}/"
    return StoredRequest(
        request_id,
        [_own_uri(uri, folder, start) for uri in uris],
        sizes,
        model if isinstance(model, str) else None,
        integer_in(entry.get("seed")),
        amount_in(entry.get("cost")),
    )


def _own_uri(uri: Any, folder: str, start: str) -> str:
    """A file of an entry, with the connection of the reader."""
    if not isinstance(uri, str) or not uri.startswith(start) or not is_below(uri, start) or not uri.isprintable():
        raise ValueError(f"{uri!r:.200} is not in the folder of output_path")
    return f"{folder}/{uri.removeprefix(start)}"
