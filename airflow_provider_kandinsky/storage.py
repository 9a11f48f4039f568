"""Pictures that outlive the service: written to the user's own storage, under names that the user chooses."""

from __future__ import annotations

import logging
import shutil
import string
import tempfile
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import IO, Final
from uuid import uuid4

from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.capabilities import AirflowException
from airflow_provider_kandinsky.segmind.downloads import ImageDownloader
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.images import image_extension
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image

log = logging.getLogger(__name__)

_DEFAULT_NAME: Final = "{request_id}-{index}.{extension}"
_PLACEHOLDERS: Final = ("request_id", "index", "seed", "extension")
#: Up to this size a picture is held in memory on its way, in bytes.
_IN_MEMORY: Final = 8 * 2**20


class OutputPath:
    """Where the pictures of a generation go: a URI of Airflow's object storage (``file://``, ``s3://conn@bucket/…``).

    :param template: may hold ``{request_id}``, ``{index}``, ``{seed}`` and ``{extension}``. Without any of them it
        is a folder, and the pictures in it are named ``{request_id}-{index}.{extension}``.
    :param samples: how many pictures there will be.
    :raises BadRequestError: a placeholder is not known, several pictures would have one name, or there is no such
        storage.
    """

    def __init__(self, template: str, samples: int = 1) -> None:
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        except ValueError:
            names = {template}
        if unknown := names - set(_PLACEHOLDERS):
            raise BadRequestError(
                f"output_path={template!r} is not allowed: {', '.join(sorted(unknown))} is no placeholder; "
                f"there are {', '.join(_PLACEHOLDERS)}"
            )
        if samples > 1 and names and "index" not in names:
            raise BadRequestError(
                f"output_path={template!r} is not allowed with samples={samples}: without {{index}} each picture "
                "would take the place of the one before"
            )
        self._template = template if names else f"{template.rstrip('/')}/{_DEFAULT_NAME}"
        try:
            # Before any money is spent: a scheme without its provider, or a connection that is not there.
            _ = ObjectStoragePath(template).fs
        except (ValueError, ImportError, AirflowException) as error:
            raise BadRequestError(f"output_path={template!r} cannot be written to: {error}") from error

    @property
    def is_of_one_job(self) -> bool:
        """Whether no other job's pictures can have these names, so that what is there is this job's."""
        return "{request_id" in self._template

    def of(self, result: GenerationResult, index: int, extension: str) -> ObjectStoragePath:
        """The path of one picture."""
        seed = "random" if result.seed is None else result.seed
        return ObjectStoragePath(
            self._template.format(request_id=result.request_id, index=index, seed=seed, extension=extension)
        )


def store(result: GenerationResult, output_path: OutputPath, hosts: Collection[str]) -> list[str]:
    """Write the pictures of a generation. One that is there already, under a name that holds the request id, is not
    fetched again.

    :param hosts: the hosts that pictures may come from.
    :return: the URIs, in the service's order.
    :raises ImageRefusedError: what is at a URL may not be fetched, or is no picture.
    :raises ImageUnavailableError: a picture could not be fetched.
    """
    with ImageDownloader(hosts) as downloader:
        return [
            str(_store_one(result, index, image, output_path, downloader)) for index, image in enumerate(result.images)
        ]


def _store_one(
    result: GenerationResult, index: int, image: Image, output_path: OutputPath, downloader: ImageDownloader
) -> ObjectStoragePath:
    # The URL tells the type well enough to look for what an earlier try has written.
    if (
        output_path.is_of_one_job
        and image.url
        and (guess := PurePosixPath(image.url.partition("?")[0]).suffix.lstrip("."))
    ):
        stored = output_path.of(result, index, guess)
        if stored.exists():
            log.info("%s is there already", stored)
            return stored
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as fetched:
        if image.url is not None:
            extension = downloader.fetch(image.url, fetched, result.request_id)
        else:
            data = image.data or b""
            fetched.write(data)
            fetched.seek(0)
            extension = image_extension(data) or "bin"
        path = output_path.of(result, index, extension)
        _write(fetched, path)
    log.info("Stored %s", path)
    return path


def _write(source: IO[bytes], path: ObjectStoragePath) -> None:
    """Under another name first, so that a reader never sees half a file under its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f".{path.name}.{uuid4().hex}"
    try:
        with unfinished.open("wb") as target:  # type: ignore[no-untyped-call]  # Airflow's is not typed
            shutil.copyfileobj(source, target)
        path.fs.mv(unfinished.path, path.path)
    finally:
        if unfinished.exists():
            unfinished.unlink()
