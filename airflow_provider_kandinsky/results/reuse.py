"""The index of stored images, by what was asked for: so that no run submits again what is there.

One small JSON a request, in the folder ``.kandinsky`` beside the images. Its name is the fingerprint of base URL, model
and parameters. It is written when the images are, and is text from elsewhere when it is read.
"""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.results.claims import Claims
from airflow_provider_kandinsky.results.errors import ReuseIndexError
from airflow_provider_kandinsky.results.file_states import FileState, concurrently, file_state, file_states
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.reuse_entry import NO_ENTRY, StoredRequest, read_entry
from airflow_provider_kandinsky.results.reuse_pack import read_pack, write_pack
from airflow_provider_kandinsky.results.storage import WITHOUT_FOLDERS, write
from airflow_provider_kandinsky.segmind.errors import Billing
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

log = logging.getLogger(__name__)

FOLDER: Final = ".kandinsky"
#: An entry of more bytes is no entry.
_MAX_BYTES: Final = 100_000
#: So many entries are also kept together, where to read each takes a call.
_MIN_TO_PACK: Final = 1000


class ReuseIndex:
    """The index beside the images of an ``output_path``.

    :param output_path: where the images are.
    :param claims: the task instance's; ``None`` for who only reads.
    :param origin: what an entry says of who made it: names of DAG, run and task.
    """

    def __init__(
        self,
        output_path: OutputPath,
        claims: Claims | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.output_path = output_path
        self._folder = output_path.folder
        self._uri = str(self._folder).rstrip("/")
        self._root = self._folder.path.rstrip("/")
        self._fs = self._folder.fs
        self._is_object_store = self._folder.protocol in WITHOUT_FOLDERS
        self._claims = claims
        self._origin = dict(origin or {})
        #: Whether the pack has all that was found.
        self._is_packed = False

    def find(self, keys: Sequence[str]) -> dict[str, StoredRequest]:
        """What is there, with all its files whole.

        :param keys: fingerprints.
        :raises ReuseIndexError: the storage cannot be read. That is not the same as nothing.
        """
        with self._storage_errors():
            return self._find(keys)

    def find_or_claim(self, keys: Sequence[str]) -> tuple[dict[str, StoredRequest], dict[str, float]]:
        """Claim what is to be submitted, unless it is there or another has claimed it.

        :return: what is there; and for how many seconds another's claims last. The rest is this task's to submit.
        :raises ReuseIndexError: the storage cannot be read or written.
        """
        with self._storage_errors():
            stored = self._find(keys)
            if (claims := self._claims) is None:
                return stored, {}
            missing = [key for key in keys if key not in stored]
            answers = concurrently(lambda key: claims.take(self._path(key)), missing)
            claimed = {key: left for key, left in zip(missing, answers, strict=True) if left is not None}
            own = [key for key in missing if key not in claimed]
            # Who had claimed it may have come to an end between the two.
            made_meanwhile = self._find(own, log_level=logging.DEBUG)
            concurrently(lambda key: claims.release(self._path(key)), list(made_meanwhile))
            return stored | made_meanwhile, claimed

    def note(self, stored: Mapping[str, tuple[GenerationResult, Sequence[str], Mapping[str, Any]]]) -> None:
        """Index requests whose images are stored, and release them.

        :param stored: by fingerprint: the result, the URIs of its images, and what else the entry says.
        :raises ReuseIndexError: the storage cannot be written. The images are there, and a retry submits nothing.
        """
        with self._storage_errors(are_stored=True):
            concurrently(lambda each: self._note_one(each[0], *each[1]), list(stored.items()))
        self.release(list(stored))

    def release(self, keys: Sequence[str]) -> None:
        """Let others submit what this task has claimed, and has nothing in flight for. Never fails: claims end by
        themselves, and there may be another error to raise."""
        if (claims := self._claims) is None:
            return
        try:
            concurrently(lambda key: claims.release(self._path(key)), keys)
        except Exception as error:  # whatever the storage raises
            message = "Claims in %s could not be given back (%.200s); others that want the same wait until they end"
            log.warning(message, self._uri, error, exc_info=True)

    def pack(self, keys: Sequence[str]) -> None:
        """Keep entries together, too, where it takes long to read each. Never fails: they can be read without.

        :param keys: of all that a later run may want together.
        """
        if self._is_packed or not self._has_pack(keys):
            return
        try:
            states = self._entry_states(keys)
            entries = self._entries_with_pack(keys, states)
            write_pack(self._fs, self._pack_path(keys), entries, states)
        except Exception as error:  # whatever the storage raises
            message = "The index in %s could not be packed (%.200s); a later run takes longer"
            log.warning(message, self._uri, error, exc_info=True)

    def _has_pack(self, keys: Sequence[str]) -> bool:
        return self._is_object_store and len(keys) >= _MIN_TO_PACK

    def _pack_path(self, keys: Sequence[str]) -> str:
        return f"{self._file(min(keys)).removesuffix('.json')}.pack"

    def _path(self, key: str) -> ObjectStoragePath:
        return self._folder / FOLDER / key[:2] / f"{key}.json"

    def _file(self, key: str) -> str:
        return f"{self._root}/{FOLDER}/{key[:2]}/{key}.json"

    def _image(self, uri: str) -> str:
        return f"{self._root}/{uri.removeprefix(f'{self._uri}/')}"

    def _find(self, keys: Sequence[str], log_level: int = logging.WARNING) -> dict[str, StoredRequest]:
        if self._has_pack(keys):
            entries = self._entries_with_pack(keys, self._entry_states(keys), log_level)
        else:
            entries = self._entries(keys, log_level)
        images = [self._image(uri) for stored in entries.values() for uri in stored.uris]
        states = file_states(self._fs, images, can_list=self._is_object_store)
        return {key: stored for key, stored in entries.items() if self._is_whole(stored, states, log_level)}

    def _is_whole(self, stored: StoredRequest, states: Mapping[str, FileState], log_level: int) -> bool:
        for uri, size in zip(stored.uris, stored.sizes, strict=True):
            now = states.get(self._image(uri))
            if now is None or now.size != size:
                what = "is gone" if now is None else f"has {now.size} bytes in place of {size}"
                log.log(log_level, "Not reused: %s of request %s %s; submitting again", uri, stored.request_id, what)
                return False
        return True

    def _entry_states(self, keys: Sequence[str]) -> dict[str, FileState]:
        """Those of the entries that exist, by key."""
        states = file_states(self._fs, [self._file(key) for key in keys], can_list=self._is_object_store)
        return {key: states[self._file(key)] for key in keys if self._file(key) in states}

    def _entries_with_pack(
        self, keys: Sequence[str], states: Mapping[str, FileState], log_level: int = logging.WARNING
    ) -> dict[str, StoredRequest]:
        packed = read_pack(self._fs, self._pack_path(keys), states, self._uri)
        self._is_packed = packed.keys() == states.keys()
        return packed | self._entries([key for key in states if key not in packed], log_level)

    def _entries(self, keys: Sequence[str], log_level: int) -> dict[str, StoredRequest]:
        """The entries that can be read, by key. Whether their files are there is another question."""
        entries = concurrently(partial(self._read_entry, log_level=log_level), keys)
        return {key: entry for key, entry in zip(keys, entries, strict=True) if entry is not None}

    def _read_entry(self, key: str, log_level: int) -> StoredRequest | None:
        content = self._read_file(self._file(key))
        if content is None:
            return None
        try:
            return read_entry(json.loads(content), self._uri)
        except NO_ENTRY as error:
            what = "Not reused: %s is not an entry of the index (%.200s); submitting again"
            log.log(log_level, what, self._path(key), error)
            return None

    def _read_file(self, path: str) -> bytes | None:
        try:
            content: bytes = self._fs.cat_file(path, end=_MAX_BYTES)
            return content
        except FileNotFoundError:
            return None
        except OSError:
            state = file_state(self._fs, path)
            if state is not None and state.size == 0:
                return b""  # S3 refuses to give a part of an empty file
            raise

    def _note_one(self, key: str, result: GenerationResult, uris: Sequence[str], details: Mapping[str, Any]) -> None:
        states = [file_state(self._fs, ObjectStoragePath(uri).path) for uri in uris]
        sizes = [state.size for state in states if state is not None]
        if len(sizes) < len(uris):
            raise FileNotFoundError(f"an image of request {result.request_id} that was just stored is gone")
        stored = StoredRequest(str(result.request_id), list(uris), sizes, result.model, result.seed, result.cost)
        entry = stored.to_entry() | {"stored_at": time.time()} | self._origin | dict(details)
        path = self._path(key)
        content = json.dumps(entry, indent=1).encode()
        if self._is_object_store:
            self._fs.pipe_file(path.path, content)
        else:
            write(io.BytesIO(content), path)

    @contextmanager
    def _storage_errors(self, *, are_stored: bool = False) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            failure = ReuseIndexError(
                f"The index in {self._folder}/{FOLDER} could not be read or written ({type(error).__name__}: "
                f"{error!s:.200}). {'The images are stored' if are_stored else 'Nothing was submitted'}",
                billing=Billing.YES if are_stored else Billing.NO,
            )
            failure.retry_hint = (
                "A retry indexes them; only without a record of the job it submits again."
                if are_stored
                else "A retry reads the index again, and submits what is not stored."
            )
            raise failure from error
