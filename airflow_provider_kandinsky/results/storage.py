"""Stores images in the user's own storage, under names that the user chooses."""

from __future__ import annotations

import asyncio
import logging
import shutil
import string
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import PurePosixPath
from typing import IO, Final, TypeVar
from uuid import uuid4

from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.compat.airflow import AirflowException
from airflow_provider_kandinsky.compat.task_runner import TimeoutAwareRunner
from airflow_provider_kandinsky.results.file_names import file_name, fixed_part, is_below
from airflow_provider_kandinsky.segmind.errors import (
    BadRequestError,
    ImageNotStoredError,
    ImageRefusedError,
    KandinskyError,
)
from airflow_provider_kandinsky.segmind.http.downloads import DownloadPolicy, ImageDownloader
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image
from airflow_provider_kandinsky.segmind.wire.images import image_extension

T = TypeVar("T")

log = logging.getLogger(__name__)

_DEFAULT_NAME: Final = "{request_id}-{index}.{extension}"
_PLACEHOLDERS: Final = ("request_id", "index", "seed", "extension")
#: Stands for a seed that the service chose and did not return.
_RANDOM: Final = "random"
#: File extensions of image URLs, and those used here.
_EXTENSIONS: Final = {"jpg": "jpeg"} | {name: name for name in ("png", "jpeg", "webp", "gif", "avif")}
#: Object stores have no folders; ``mkdir`` would create a bucket of a misspelt name.
WITHOUT_FOLDERS: Final = ("s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "az", "adl")
#: How many images are fetched and written concurrently.
_MAX_CONCURRENT: Final = 8
#: Up to this size in bytes, an image is buffered in memory.
_MAX_IN_MEMORY: Final = 2 * 2**20


class OutputPath:
    """Where the images of a generation are stored: a URI of Airflow's object storage (``file://``, ``s3://conn@bucket/…``).

    :param template: may hold ``{request_id}``, ``{index}``, ``{seed}`` and ``{extension}``. Without any of them it
        is a folder, and the images in it are named ``{request_id}-{index}.{extension}``.
    :param samples: how many images a job will give.
    :param jobs: how many jobs there will be.
    :raises BadRequestError: a placeholder is unknown, several images would have the same name, or there is no such
        storage.
    """

    def __init__(self, template: str, samples: int = 1, jobs: int = 1) -> None:
        self.template = self.check_template(template, samples, jobs)
        try:
            # Before anything is submitted: fails for a scheme without its provider, or without its connection.
            _ = ObjectStoragePath(template).fs
        except (ValueError, ImportError, AirflowException) as error:
            raise BadRequestError(f"output_path={template!r} cannot be written to: {error}") from error

    @staticmethod
    def check_template(template: str, samples: int = 1, jobs: int = 1) -> str:
        """Check what needs no storage and no connection. The parameters are the constructor's.

        :return: the template, with the default name if it has no placeholder.
        :raises BadRequestError: it is not allowed.
        """
        try:
            fields = [field for field in string.Formatter().parse(template) if field[1] is not None]
        except ValueError:
            fields = [("", template, "", None)]
        names = {str(name) for _, name, _, _ in fields}
        if unknown := names - set(_PLACEHOLDERS):
            raise _not_allowed(
                template, f": unknown placeholder {', '.join(sorted(unknown))}; use {', '.join(_PLACEHOLDERS)}"
            )
        if any(name == "request_id" and (spec or conversion) for _, name, spec, conversion in fields):
            raise _not_allowed(template, ": {request_id} takes no format, because two ids could give the same name")
        if samples > 1 and names and "index" not in names:
            raise _not_allowed(
                template, f" with samples={samples}: without {{index}} each image would overwrite the one before"
            )
        if jobs > 1 and names and "request_id" not in names:
            raise _not_allowed(
                template, f" for {jobs} requests: without {{request_id}} their images could overwrite each other"
            )
        whole = template if names else f"{template.rstrip('/')}/{_DEFAULT_NAME}"
        for seed in (0, _RANDOM):
            try:
                example = whole.format(request_id="id", index=0, seed=seed, extension="png")
            except (ValueError, LookupError, TypeError) as error:
                raise _not_allowed(template, f": seed={seed!r} does not fit the format ({error})") from error
            if not is_below(example, fixed_part(whole)):
                raise _not_allowed(template, ": it leads out of the folder that it begins with")
        return whole

    @property
    def is_unique_per_job(self) -> bool:
        """Whether no other job's images can have these names, so that an existing file is this job's."""
        return any(name == "request_id" for _, name, _, _ in string.Formatter().parse(self.template))

    def sibling(self, name: str) -> ObjectStoragePath:
        """A file in the innermost folder that all images have in common."""
        return ObjectStoragePath(fixed_part(self.template).rpartition("/")[0]) / name

    def of(self, result: GenerationResult, index: int, extension: str) -> ObjectStoragePath:
        """The path of one image.

        :raises ImageRefusedError: it would not lie below the fixed part of the template.
        """
        seed = result.seed if isinstance(result.seed, int) else _RANDOM
        path = self.template.format(
            request_id=file_name(str(result.request_id)), index=index, seed=seed, extension=file_name(extension)
        )
        if not is_below(path, fixed_part(self.template)):
            raise ImageRefusedError(
                f"The image is not stored: {path!r:.300} is not in the folder of output_path",
                request_id=result.request_id,
            )
        return ObjectStoragePath(path)


def _not_allowed(template: str, reason: str) -> BadRequestError:
    return BadRequestError(f"output_path={template!r} is not allowed{reason}")


def store(
    results: Sequence[GenerationResult], output_path: OutputPath, downloads: DownloadPolicy
) -> list[list[str] | KandinskyError]:
    """Store the images of generations. An existing one, under a name with the request id, is not fetched again.

    :param downloads: which images may be downloaded, and for how long.
    :return: for each generation the URIs, in the service's order, or the error of one of its images: an
        :class:`ImageRefusedError`, :class:`ImageUnavailableError` or :class:`ImageNotStoredError`.
    """
    with TimeoutAwareRunner() as runner:
        return runner.run(_store(results, output_path, downloads))


def find_missing(uris: Collection[str]) -> set[str]:
    """Which of some stored images no longer exist.

    :raises ImageNotStoredError: the storage cannot be read.
    """
    with TimeoutAwareRunner() as runner:
        return runner.run(_find_missing(uris))


async def _find_missing(uris: Collection[str]) -> set[str]:
    slots = asyncio.Semaphore(_MAX_CONCURRENT)

    async def is_missing(uri: str) -> bool:
        path = ObjectStoragePath(uri)
        async with slots:
            return not await _in_storage(path, None, path.exists)

    missing = await asyncio.gather(*map(is_missing, uris))
    return {uri for uri, is_gone in zip(uris, missing, strict=True) if is_gone}


async def _store(
    results: Sequence[GenerationResult], output_path: OutputPath, downloads: DownloadPolicy
) -> list[list[str] | KandinskyError]:
    slots = asyncio.Semaphore(_MAX_CONCURRENT)

    async def store_all_of(result: GenerationResult) -> list[str] | KandinskyError:
        uris = []
        for index, image in enumerate(result.images):
            async with slots:
                try:
                    uris.append(str(await _store_one(result, index, image, output_path, downloader)))
                except KandinskyError as error:
                    return error
        return uris

    async with ImageDownloader(downloads) as downloader:
        return await asyncio.gather(*map(store_all_of, results))


async def _store_one(
    result: GenerationResult, index: int, image: Image, output_path: OutputPath, downloader: ImageDownloader
) -> ObjectStoragePath:
    # The URL's extension is good enough to find what an earlier try has stored.
    extension_in_url = PurePosixPath((image.url or "").partition("?")[0]).suffix.lower().lstrip(".")
    if output_path.is_unique_per_job and extension_in_url in _EXTENSIONS:
        stored = output_path.of(result, index, _EXTENSIONS[extension_in_url])
        if await _in_storage(stored, result.request_id, stored.exists):
            log.info("%s is already stored", stored)
            return stored
    with tempfile.SpooledTemporaryFile(_MAX_IN_MEMORY) as fetched:
        if image.url is not None:
            extension = await downloader.fetch(image.url, fetched, result.request_id)
        else:
            data = image.data or b""
            fetched.write(data)
            fetched.seek(0)
            extension = image_extension(data) or "bin"
        path = output_path.of(result, index, extension)
        await _in_storage(path, result.request_id, lambda: write(fetched, path))
    log.debug("Stored %s", path)
    return path


async def _in_storage(path: ObjectStoragePath, request_id: str | None, work: Callable[[], T]) -> T:
    """Run storage work in a thread, and wrap whatever error the storage raises."""
    try:
        return await asyncio.to_thread(work)
    except Exception as error:
        raise ImageNotStoredError(
            f"The image could not be written to {path} ({type(error).__name__}: {error!s:.200})",
            request_id=request_id,
        ) from error


def write(source: IO[bytes], path: ObjectStoragePath) -> None:
    """Write under a temporary name first, so that a reader never sees a partial file."""
    if path.protocol not in WITHOUT_FOLDERS:
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".{path.name}.{uuid4().hex}"
    try:
        with partial.open("wb") as target:  # type: ignore[no-untyped-call]  # Airflow's is not typed
            shutil.copyfileobj(source, target)
        path.fs.mv(partial.path, path.path)
    finally:
        if partial.exists():
            partial.unlink()
