"""The index of stored images, by what was asked for: so that no run submits again what is there.

One small JSON a request, in the folder ``.kandinsky`` beside the images. Its name is the fingerprint of base URL, model
and parameters. It is written when the images are, and is text from elsewhere when it is read.
"""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.results.claims import Claims
from airflow_provider_kandinsky.results.errors import ClaimedElsewhere as ClaimedElsewhere
from airflow_provider_kandinsky.results.errors import ReuseIndexError
from airflow_provider_kandinsky.results.file_names import is_below, location
from airflow_provider_kandinsky.results.storage import WITHOUT_FOLDERS, OutputPath, write
from airflow_provider_kandinsky.segmind.errors import Billing
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, parse_request_id
from airflow_provider_kandinsky.segmind.wire.values import amount_in, integer_in

T = TypeVar("T")

log = logging.getLogger(__name__)

FOLDER: Final = ".kandinsky"
#: How many entries are read, claimed or written concurrently.
_MAX_CONCURRENT: Final = 32
#: An entry of more bytes is no entry.
_MAX_BYTES: Final = 100_000
_MAX_IMAGES: Final = 100


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """What the index knows of a request whose images are there.

    :param uris: of the images, in the service's order, with the connection id of the one who reads.
    :param cost: dollars, what the images did cost; ``None`` if unknown.
    """

    request_id: str
    uris: list[str]
    model: str | None = None
    seed: int | None = None
    cost: float | None = None

    def result(self) -> GenerationResult:
        """The result as it is delivered again: at no cost."""
        return GenerationResult(request_id=self.request_id, images=(), model=self.model, seed=self.seed, cost=0.0)


class ReuseIndex:
    """The index beside the images of an ``output_path``.

    :param output_path: where the images are.
    :param claims: the task instance's; ``None`` for who only reads.
    :param origin: what an entry says of who made it: names of DAG, run and task.
    :param clock: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        output_path: OutputPath,
        claims: Claims | None = None,
        origin: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = output_path.folder
        self._claims = claims
        self._origin = dict(origin or {})
        self._clock = clock

    def find(self, keys: Sequence[str]) -> dict[str, StoredRequest]:
        """What is there, with all its files whole.

        :param keys: fingerprints.
        :raises ReuseIndexError: the storage cannot be read. That is not the same as nothing.
        """
        with self._storage_errors():
            found = _concurrently(self._find_one, keys)
        return {key: stored for key, stored in zip(keys, found, strict=True) if stored is not None}

    def find_or_claim(self, keys: Sequence[str]) -> tuple[dict[str, StoredRequest], dict[str, float]]:
        """Claim what is to be submitted, unless it is there or another has claimed it.

        :return: what is there; and for how many seconds another's claims last. The rest is this task's to submit.
        :raises ReuseIndexError: the storage cannot be read or written.
        """
        with self._storage_errors():
            answers = dict(zip(keys, _concurrently(self._find_or_claim_one, keys), strict=True))
        stored = {key: answer for key, answer in answers.items() if isinstance(answer, StoredRequest)}
        claimed = {key: answer for key, answer in answers.items() if isinstance(answer, float)}
        return stored, claimed

    def note(self, stored: Mapping[str, tuple[GenerationResult, Sequence[str], Mapping[str, Any]]]) -> None:
        """Index requests whose images are stored, and release them.

        :param stored: by fingerprint: the result, the URIs of its images, and what else the entry says.
        :raises ReuseIndexError: the storage cannot be written. The images are there, and a retry submits nothing.
        """
        with self._storage_errors("The images are stored", Billing.YES):
            _concurrently(lambda each: self._note_one(each[0], *each[1]), list(stored.items()))

    def release(self, keys: Sequence[str]) -> None:
        """Let others submit what this task has claimed, and has nothing in flight for."""
        claims = self._claims
        if claims is not None:
            with self._storage_errors("A claim could not be given back"):
                _concurrently(lambda key: claims.release(self._path(key)), keys)

    def _path(self, key: str) -> ObjectStoragePath:
        return self._folder / FOLDER / key[:2] / f"{key}.json"

    def _find_or_claim_one(self, key: str) -> StoredRequest | float | None:
        if (stored := self._find_one(key)) is not None or self._claims is None:
            return stored
        if (seconds := self._claims.take(self._path(key))) is not None:
            return seconds
        # Its owner may have come to an end between the two.
        if (stored := self._find_one(key, log_level=logging.DEBUG)) is not None:
            self._claims.release(self._path(key))
        return stored

    def _find_one(self, key: str, log_level: int = logging.WARNING) -> StoredRequest | None:
        path = self._path(key)
        content = _read_file(path)
        if content is None:
            return None
        try:
            stored, sizes = self._read(json.loads(content))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            log.log(log_level, "Not reused: %s is not an entry of the index (%.200s); submitting again", path, error)
            return None
        for uri, size in zip(stored.uris, sizes, strict=True):
            if (now := _size(ObjectStoragePath(uri))) != size:
                what = "is gone" if now is None else f"has {now} bytes in place of {size}"
                log.log(log_level, "Not reused: %s of request %s %s; submitting again", uri, stored.request_id, what)
                return None
        return stored

    def _read(self, entry: Any) -> tuple[StoredRequest, list[int]]:
        """Check an entry.

        :raises ValueError: it is none, or names files outside of the folder.
        """
        request_id, uris, sizes = parse_request_id(entry["request_id"]), entry["uris"], entry["sizes"]
        if request_id is None or not isinstance(uris, list) or not isinstance(sizes, list):
            raise ValueError("it has no request id, or no list of files")
        if not 0 < len(uris) == len(sizes) <= _MAX_IMAGES or not all(type(size) is int for size in sizes):
            raise ValueError("its files and their sizes do not match")
        model = entry.get("model")
        stored = StoredRequest(
            request_id,
            [self._own_uri(uri) for uri in uris],
            model if isinstance(model, str) else None,
            integer_in(entry.get("seed")),
            amount_in(entry.get("cost")),
        )
        return stored, sizes

    def _own_uri(self, uri: Any) -> str:
        """A file of an entry, with the connection of this task."""
        folder = str(self._folder).rstrip("/")
        start = f"{location(folder)}/"
        if not isinstance(uri, str) or not uri.startswith(start) or not is_below(uri, start) or not uri.isprintable():
            raise ValueError(f"{uri!r:.200} is not in the folder of output_path")
        return f"{folder}/{uri.removeprefix(start)}"

    def _note_one(self, key: str, result: GenerationResult, uris: Sequence[str], details: Mapping[str, Any]) -> None:
        sizes = [_size(ObjectStoragePath(uri)) for uri in uris]
        if None in sizes:
            raise FileNotFoundError(f"an image of request {result.request_id} that was just stored is gone")
        entry = {
            "request_id": result.request_id,
            "model": result.model,
            "seed": result.seed,
            "cost": result.cost,
            "uris": [location(uri) for uri in uris],
            "sizes": sizes,
            "stored_at": self._clock(),
            **self._origin,
            **details,
        }
        path = self._path(key)
        content = json.dumps(entry, indent=1).encode()
        if path.protocol in WITHOUT_FOLDERS:
            path.fs.pipe_file(path.path, content)
        else:
            write(io.BytesIO(content), path)
        if self._claims is not None:
            self._claims.release(path)

    @contextmanager
    def _storage_errors(
        self, consequence: str = "Nothing was submitted", billing: Billing = Billing.NO
    ) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise ReuseIndexError(
                f"The index in {self._folder}/{FOLDER} could not be read or written ({type(error).__name__}: "
                f"{error!s:.200}). {consequence}",
                billing=billing,
            ) from error


def _read_file(path: ObjectStoragePath) -> bytes | None:
    try:
        content: bytes = path.fs.cat_file(path.path, end=_MAX_BYTES)
        return content
    except FileNotFoundError:
        return None
    except OSError:
        if _size(path) == 0:
            return b""  # S3 refuses to give a part of an empty file
        raise


def _size(path: ObjectStoragePath) -> int | None:
    try:
        return int(path.fs.info(path.path)["size"])
    except FileNotFoundError:
        return None


def _concurrently(work: Callable[[Any], T], values: Sequence[Any]) -> list[T]:
    if len(values) == 1:
        return [work(values[0])]
    with ThreadPoolExecutor(_MAX_CONCURRENT) as pool:
        try:
            return list(pool.map(work, values))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
