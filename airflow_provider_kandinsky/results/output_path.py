"""Where images are stored: a template of the user's."""

from __future__ import annotations

import string
from typing import Final

from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.compat.airflow import AirflowException
from airflow_provider_kandinsky.results.file_names import file_name, fixed_part, is_below
from airflow_provider_kandinsky.segmind.errors import BadRequestError, ImageRefusedError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

_DEFAULT_NAME: Final = "{request_id}-{index}.{extension}"
_PLACEHOLDERS: Final = ("request_id", "key", "index", "seed", "extension")
#: Those that differ for each request.
_NAMES: Final = ("request_id", "key")
#: Stands for a seed that the service chose and did not return.
_RANDOM: Final = "random"


class OutputPath:
    """Where the images of a generation are stored: a URI of Airflow's object storage (``file://``, ``s3://conn@bucket/…``).

    :param template: may hold ``{request_id}``, ``{index}``, ``{seed}``, ``{extension}`` and, in a batch, ``{key}``.
        Without any of them it is a folder, and the images in it are named ``{request_id}-{index}.{extension}``.
    :param samples: how many images a job will give.
    :param jobs: how many jobs there will be.
    :param has_keys: whether each job has a ``key``; ``None`` if that is not known yet.
    :raises BadRequestError: a placeholder is unknown, several images would have the same name, or there is no such
        storage.
    """

    def __init__(self, template: str, samples: int = 1, jobs: int = 1, *, has_keys: bool = False) -> None:
        self.template = self.check_template(template, samples, jobs, has_keys=has_keys)
        try:
            # Before anything is submitted: fails for a scheme without its provider, or without its connection.
            _ = ObjectStoragePath(template).fs
        except (ValueError, ImportError, AirflowException) as error:
            raise BadRequestError(f"output_path={template!r} cannot be written to: {error}") from error

    @staticmethod
    def check_template(template: str, samples: int = 1, jobs: int = 1, *, has_keys: bool | None = None) -> str:
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
        for _, name, spec, conversion in fields:
            if name in _NAMES and (spec or conversion):
                raise _not_allowed(template, f": {{{name}}} takes no format, because two could give the same name")
        if "key" in names and has_keys is False:
            raise _not_allowed(template, ": {key} is for a batch in which each request has a key")
        if samples > 1 and names and "index" not in names:
            raise _not_allowed(
                template, f" with samples={samples}: without {{index}} each image would overwrite the one before"
            )
        if jobs > 1 and names and names.isdisjoint(_NAMES):
            raise _not_allowed(
                template,
                f" for {jobs} requests: without {{request_id}} or {{key}} their images could overwrite each other",
            )
        whole = template if names else f"{template.rstrip('/')}/{_DEFAULT_NAME}"
        for seed in (0, _RANDOM):
            try:
                example = whole.format(request_id="id", key="key", index=0, seed=seed, extension="png")
            except (ValueError, LookupError, TypeError) as error:
                raise _not_allowed(template, f": seed={seed!r} does not fit the format ({error})") from error
            if not is_below(example, fixed_part(whole)):
                raise _not_allowed(template, ": it leads out of the folder that it begins with")
        return whole

    @property
    def is_unique_per_job(self) -> bool:
        """Whether no other job's images can have these names, so that an existing file is this job's."""
        return any(name == "request_id" for _, name, _, _ in string.Formatter().parse(self.template))

    @property
    def folder(self) -> ObjectStoragePath:
        """The innermost folder that all images have in common."""
        return ObjectStoragePath(fixed_part(self.template).rpartition("/")[0])

    def of(self, result: GenerationResult, index: int, extension: str, key: str | None = None) -> ObjectStoragePath:
        """The path of one image.

        :param key: the user's own name for the request.
        :raises ImageRefusedError: it would not lie below the fixed part of the template.
        """
        seed = result.seed if isinstance(result.seed, int) else _RANDOM
        path = self.template.format(
            request_id=file_name(str(result.request_id)),
            key=file_name(str(key)),
            index=index,
            seed=seed,
            extension=file_name(extension),
        )
        if not is_below(path, fixed_part(self.template)):
            raise ImageRefusedError(
                f"The image is not stored: {path!r:.300} is not in the folder of output_path",
                request_id=result.request_id,
            )
        return ObjectStoragePath(path)


def _not_allowed(template: str, reason: str) -> BadRequestError:
    return BadRequestError(f"output_path={template!r} is not allowed{reason}")
