"""Stores images in the user's own storage, under names that the user chooses."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import PurePosixPath
from typing import IO, Final, TypeVar
from uuid import uuid4

from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.compat.task_runner import TimeoutAwareRunner
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.segmind.errors import (
    ImageNotStoredError,
    KandinskyError,
)
from airflow_provider_kandinsky.segmind.http.downloads import DownloadPolicy, ImageDownloader
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image
from airflow_provider_kandinsky.segmind.wire.images import image_extension

T = TypeVar("T")

log = logging.getLogger(__name__)

#: File extensions of image URLs, and those used here.
_EXTENSIONS: Final = {"jpg": "jpeg"} | {name: name for name in ("png", "jpeg", "webp", "gif", "avif")}
#: Object stores have no folders; ``mkdir`` would create a bucket of a misspelt name.
WITHOUT_FOLDERS: Final = ("s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "az", "adl")
#: How many images are fetched and written concurrently.
_MAX_CONCURRENT: Final = 8
#: Up to this size in bytes, an image is buffered in memory.
_MAX_IN_MEMORY: Final = 2 * 2**20


def store(
    results: Sequence[GenerationResult],
    output_path: OutputPath,
    downloads: DownloadPolicy,
    keys: Sequence[str | None] = (),
) -> list[list[str] | KandinskyError]:
    """Store the images of generations. An existing one, under a name with the request id, is not fetched again.

    :param downloads: which images may be downloaded, and for how long.
    :param keys: the user's own names for the requests, if there are any.
    :return: for each generation the URIs, in the service's order, or the error of one of its images: an
        :class:`ImageRefusedError`, :class:`ImageUnavailableError` or :class:`ImageNotStoredError`.
    """
    with TimeoutAwareRunner() as runner:
        return runner.run(_store(results, output_path, downloads, keys or [None] * len(results)))


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
    results: Sequence[GenerationResult],
    output_path: OutputPath,
    downloads: DownloadPolicy,
    keys: Sequence[str | None],
) -> list[list[str] | KandinskyError]:
    slots = asyncio.Semaphore(_MAX_CONCURRENT)

    async def store_all_of(result: GenerationResult, key: str | None) -> list[str] | KandinskyError:
        uris = []
        for index, image in enumerate(result.images):
            async with slots:
                try:
                    uris.append(str(await _store_one(result, index, image, key, output_path, downloader)))
                except KandinskyError as error:
                    return error
        return uris

    async with ImageDownloader(downloads) as downloader:
        return await asyncio.gather(*map(store_all_of, results, keys))


async def _store_one(
    result: GenerationResult,
    index: int,
    image: Image,
    key: str | None,
    output_path: OutputPath,
    downloader: ImageDownloader,
) -> ObjectStoragePath:
    # The URL's extension is good enough to find what an earlier try has stored.
    extension_in_url = PurePosixPath((image.url or "").partition("?")[0]).suffix.lower().lstrip(".")
    if output_path.is_unique_per_job and extension_in_url in _EXTENSIONS:
        stored = output_path.of(result, index, _EXTENSIONS[extension_in_url], key)
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
        path = output_path.of(result, index, extension, key)
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
