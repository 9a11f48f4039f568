"""Pictures that outlive the service: written to the user's own storage, under names that the user chooses."""

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
#: In place of a seed that the service drew and did not tell.
_RANDOM: Final = "random"
#: How images are named on the web, and what they are named here.
_EXTENSIONS: Final = {"jpg": "jpeg"} | {name: name for name in ("png", "jpeg", "webp", "gif", "avif")}
#: Object stores have no folders, and would make a bucket of a misspelt name.
_WITHOUT_FOLDERS: Final = ("s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "az", "adl")
#: So many pictures are fetched and written at a time.
_AT_ONCE: Final = 8
#: Up to this size a picture is held in memory on its way, in bytes.
_IN_MEMORY: Final = 2 * 2**20


class OutputPath:
    """Where the pictures of a generation go: a URI of Airflow's object storage (``file://``, ``s3://conn@bucket/…``).

    :param template: may hold ``{request_id}``, ``{index}``, ``{seed}`` and ``{extension}``. Without any of them it
        is a folder, and the pictures in it are named ``{request_id}-{index}.{extension}``.
    :param samples: how many pictures a job will give.
    :param jobs: how many jobs there will be.
    :raises BadRequestError: a placeholder is not known, several pictures would have one name, or there is no such
        storage.
    """

    def __init__(self, template: str, samples: int = 1, jobs: int = 1) -> None:
        self.template = self.check_template(template, samples, jobs)
        try:
            # Before any money is spent: a scheme without its provider, or a connection that is not there.
            _ = ObjectStoragePath(template).fs
        except (ValueError, ImportError, AirflowException) as error:
            raise BadRequestError(f"output_path={template!r} cannot be written to: {error}") from error

    @staticmethod
    def check_template(template: str, samples: int = 1, jobs: int = 1) -> str:
        """Check all that can be known without the storage and its connection; the parameters are the constructor's.

        :return: the template, with the default name if it has no placeholder.
        :raises BadRequestError: it is not allowed.
        """
        try:
            fields = [field for field in string.Formatter().parse(template) if field[1] is not None]
        except ValueError:
            fields = [("", template, "", None)]
        names = {str(name) for _, name, _, _ in fields}
        if unknown := names - set(_PLACEHOLDERS):
            raise _refused(
                template,
                f": {', '.join(sorted(unknown))} is no placeholder; there are {', '.join(_PLACEHOLDERS)}",
            )
        if any(name == "request_id" and (spec or conversion) for _, name, spec, conversion in fields):
            raise _refused(template, ": {request_id} takes no format, because then two ids could give one name")
        if samples > 1 and names and "index" not in names:
            raise _refused(
                template,
                f" with samples={samples}: without {{index}} each picture would take the place of the one before",
            )
        if jobs > 1 and names and "request_id" not in names:
            raise _refused(
                template,
                f" for {jobs} requests: without {{request_id}} their pictures could take each other's place",
            )
        whole = template if names else f"{template.rstrip('/')}/{_DEFAULT_NAME}"
        for seed in (0, _RANDOM):
            try:
                example = whole.format(request_id="id", index=0, seed=seed, extension="png")
            except (ValueError, LookupError, TypeError) as error:
                raise _refused(template, f": seed={seed!r} does not fit into it ({error})") from error
            if not is_below(example, fixed_part(whole)):
                raise _refused(template, ": it leads out of the folder that it begins with")
        return whole

    @property
    def is_unique_per_job(self) -> bool:
        """Whether no other job's pictures can have these names, so that what is there is this job's."""
        return any(name == "request_id" for _, name, _, _ in string.Formatter().parse(self.template))

    def beside(self, name: str) -> ObjectStoragePath:
        """A file in the innermost folder that all pictures have in common."""
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


def _refused(template: str, reason: str) -> BadRequestError:
    return BadRequestError(f"output_path={template!r} is not allowed{reason}")


def store(
    results: Sequence[GenerationResult], output_path: OutputPath, downloads: DownloadPolicy
) -> list[list[str] | KandinskyError]:
    """Write the pictures of generations. One that is there already, under a name that holds the request id, is not
    fetched again.

    :param downloads: which images may be downloaded, and for how long.
    :return: for each generation the URIs, in the service's order, or why one of its pictures is not there: an
        :class:`ImageRefusedError`, :class:`ImageUnavailableError` or :class:`ImageNotStoredError`.
    """
    with TimeoutAwareRunner() as runner:
        return runner.run(_store(results, output_path, downloads))


def find_missing(uris: Collection[str]) -> set[str]:
    """Which of some stored images are not there any more.

    :raises ImageNotStoredError: the storage cannot be asked.
    """
    with TimeoutAwareRunner() as runner:
        return runner.run(_find_missing(uris))


async def _find_missing(uris: Collection[str]) -> set[str]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def is_missing(uri: str) -> bool:
        path = ObjectStoragePath(uri)
        async with places:
            return not await _in_storage(path, None, path.exists)

    missing = await asyncio.gather(*map(is_missing, uris))
    return {uri for uri, is_gone in zip(uris, missing, strict=True) if is_gone}


async def _store(
    results: Sequence[GenerationResult], output_path: OutputPath, downloads: DownloadPolicy
) -> list[list[str] | KandinskyError]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def store_all_of(result: GenerationResult) -> list[str] | KandinskyError:
        uris = []
        for index, image in enumerate(result.images):
            async with places:
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
    # The URL tells the type well enough to look for what an earlier try has written.
    guess = PurePosixPath((image.url or "").partition("?")[0]).suffix.lower().lstrip(".")
    if output_path.is_unique_per_job and guess in _EXTENSIONS:
        stored = output_path.of(result, index, _EXTENSIONS[guess])
        if await _in_storage(stored, result.request_id, stored.exists):
            log.info("%s is there already", stored)
            return stored
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as fetched:
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
    """Do what may take long, and fail in as many ways as there are storages."""
    try:
        return await asyncio.to_thread(work)
    except Exception as error:
        raise ImageNotStoredError(
            f"The picture could not be written to {path} ({type(error).__name__}: {error!s:.200})",
            request_id=request_id,
        ) from error


def write(source: IO[bytes], path: ObjectStoragePath) -> None:
    """Under another name first, so that a reader never sees half a file under its own."""
    if path.protocol not in _WITHOUT_FOLDERS:
        path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f".{path.name}.{uuid4().hex}"
    try:
        with unfinished.open("wb") as target:  # type: ignore[no-untyped-call]  # Airflow's is not typed
            shutil.copyfileobj(source, target)
        path.fs.mv(unfinished.path, path.path)
    finally:
        if unfinished.exists():
            unfinished.unlink()
