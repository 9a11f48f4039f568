"""``@task.kandinsky``: a function that returns the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import Context
from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from airflow_provider_kandinsky.compat.airflow import determine_kwargs
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.tasks.arguments import GENERATION_ARGUMENTS
from airflow_provider_kandinsky.types import GenerationArguments


class _KandinskyDecoratedOperator(DecoratedOperator, KandinskyTextToImageOperator):
    """The operator, with a function in place of its prompt.

    :param python_callable: returns the prompt, or a mapping of generation arguments.
    """

    template_fields = (*DecoratedOperator.template_fields, *KandinskyTextToImageOperator.template_fields)
    custom_operator_name = "@task.kandinsky"
    prompt_is_rendered = False
    #: Airflow 3.0 requires it to push the items of a returned dict; this task returns a list.
    xcom_push: Any = None

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(python_callable=python_callable, prompt=f"(what {python_callable.__name__} returns)", **kwargs)

    def execute(self, context: Context) -> list[str] | str:
        """Call the function, then execute the operator.

        The returned value is not rendered as a template: it may hold data with braces.
        """
        kwargs = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        returned = self.python_callable(*self.op_args, **kwargs)
        with self._failures(context):
            defaults = {name: getattr(self, name) for name in GENERATION_ARGUMENTS if name != "prompt"}
            self._take_arguments(TextToImageRequest.of(returned, defaults, self.model).payload())
        result: list[str] | str = super().execute(context)
        return result


def kandinsky_task(
    python_callable: Callable[..., str | GenerationArguments | Mapping[str, Any]] | None = None,
    multiple_outputs: bool | None = None,
    **kwargs: Any,
) -> TaskDecorator:
    """Make a task of a function that returns the prompt; this is ``@task.kandinsky``.

    The function returns the prompt, or a mapping of the operator's generation arguments, ``prompt`` among them, which
    take precedence over those given to the decorator. It is called once in each try, before anything is submitted, and
    not after a deferral. To be paid once, it must return the same value in each try.

    :param python_callable: the function.
    :param multiple_outputs: not allowed: the task returns a list of URLs, whatever the function returns.
    :param kwargs: the arguments of
        :class:`~airflow_provider_kandinsky.operators.text_to_image.KandinskyTextToImageOperator`, without ``prompt``.
    :raises ValueError: ``multiple_outputs`` is set, or ``prompt`` is given.
    """
    if multiple_outputs:
        raise ValueError("multiple_outputs=True is not allowed: @task.kandinsky returns a list of URLs")
    if "prompt" in kwargs:
        raise ValueError(f"prompt={kwargs['prompt']!r:.200} is not allowed: the decorated function returns the prompt")
    return task_decorator_factory(
        python_callable=python_callable,
        # Airflow would infer it from the function's "-> dict", which is not what the task returns.
        multiple_outputs=False,
        decorated_operator_class=_KandinskyDecoratedOperator,
        **kwargs,
    )
