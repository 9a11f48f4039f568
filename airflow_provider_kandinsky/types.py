"""Types for your own DAGs and tests: what arguments may be, and what the XComs hold.

::

    from airflow_provider_kandinsky.types import BatchRequest, BatchRow

    @task
    def requests() -> list[BatchRequest]:
        return [{"prompt": "a lighthouse", "scheduler": "DDIM", "img_width": 1024}]

    @task
    def failed(rows: list[BatchRow]) -> list[str]:
        return [row["error"]["type"] for row in rows if row["error"] is not None]

An editor then completes names and values, and a type checker reports keys that do not exist. The values are those of
the default model. Other models have others, and templates are strings: the operators accept these, too, and check them.

By Airflow's own types the result of a task is an ``XComArg``. So a checker objects where a function under ``@task``
gets the result of another task, and its parameter has the type of the value. ``prompt``, ``requests`` and
``request_id`` of the tasks of this package take both.
"""

# Annotations are no strings here: which keys are required is read from them at run time.
from typing import Any, Literal, NotRequired, Required, TypeAlias, TypedDict

#: The schedulers of ``kandinsky2.1-txt2im``.
Scheduler: TypeAlias = Literal["DDIM", "P-Sampler"]
#: The sides of an image of ``kandinsky2.1-txt2im``, in pixels.
ImageSide: TypeAlias = Literal[512, 1024]


class GenerationArguments(TypedDict, total=False):
    """The generation arguments, as a function under ``@task.kandinsky`` may return them. For the ranges see
    :class:`~airflow_provider_kandinsky.operators.text_to_image.KandinskyTextToImageOperator`."""

    prompt: Required[str]
    negative_prompt: str | None
    scheduler: Scheduler | str | None
    samples: int | str | None
    num_inference_steps: int | str | None
    guidance_scale: float | str | None
    seed: int | str | None
    img_width: ImageSide | int | str | None
    img_height: ImageSide | int | str | None
    base64: bool | str | None
    model_parameters: dict[str, Any] | None


class BatchRequest(GenerationArguments):
    """An item of a batch's ``requests``: its prompt, and what differs from the batch's own arguments.

    ``key`` is your own name for it, unique in the batch. It is not sent to the service.
    """

    key: NotRequired[str | int | None]


class ErrorRecord(TypedDict):
    """XCom ``error`` of a failed try, and ``error`` of a batch's row.

    ``type`` is the name of a class of :mod:`airflow_provider_kandinsky.exceptions`, ``message`` the error in full.
    """

    type: str
    message: str


class Generation(TypedDict):
    """XCom ``generation``. ``None`` is unknown: a cost is never taken for 0.

    ``cost`` is in US dollars; ``inference_time`` and ``queue_time`` are in seconds. With an ``output_path``,
    ``locations`` are the URIs without Airflow's connection id. ``reused`` is there, and true, if nothing was submitted.
    """

    request_id: str | None
    model: str | None
    seed: int | None
    cost: float | None
    inference_time: float | None
    queue_time: float | None
    locations: NotRequired[list[str]]
    reused: NotRequired[bool]


class BatchRow(TypedDict):
    """An item of a batch's result.

    ``urls`` is empty if the item failed. With an ``output_path`` it holds the URIs of the stored images, and
    ``source_urls`` the service's URLs, and ``locations`` the URIs without Airflow's connection id. ``key`` is there if
    any item has one, and ``reused`` with ``reuse=True``. ``cost`` is in US dollars; ``None`` is unknown.
    """

    key: NotRequired[str | None]
    urls: list[str]
    locations: NotRequired[list[str]]
    source_urls: NotRequired[list[str]]
    reused: NotRequired[bool]
    request_id: str | None
    seed: int | None
    cost: float | None
    error: ErrorRecord | None


class ManifestRow(BatchRow):
    """A line of a batch's manifest: its row, and what was sent for it."""

    arguments: dict[str, Any]


class BatchCounts(TypedDict):
    """XCom ``counts`` of a batch; ``cost`` is in US dollars."""

    items: int
    succeeded: int
    failed: int
    reused: int
    cost: float
