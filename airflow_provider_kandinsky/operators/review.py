"""Let a person choose among images, in Airflow's UI. Needs Airflow 3.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow.sdk import Context, Param, XComArg
from airflow.sdk.definitions.param import ParamsDict

from airflow_provider_kandinsky.compat.airflow import (
    HUMAN_IN_THE_LOOP_MISSING,
    AirflowFailException,
    hitl_operator,
    response_timeout_argument,
    show_form,
)
from airflow_provider_kandinsky.operators import _review_form as form
from airflow_provider_kandinsky.operators._base import DEFAULT_CONN_ID
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.tasks.arguments import check_choice, invalid_argument

if TYPE_CHECKING:
    from airflow.providers.standard.operators.hitl import HITLOperator
    from airflow.sdk import BaseNotifier
    from airflow.sdk.execution_time.hitl import HITLUser
else:
    HITLOperator = hitl_operator()
    if HITLOperator is None:
        raise ImportError(f"KandinskyReviewOperator needs {HUMAN_IN_THE_LOOP_MISSING}")

ReviewDefaults = Literal["fail", "none", "all"]
#: The XComs, and the field of the form.
IMAGES: Final = "images"
REJECTED: Final = "rejected"
COMMENT: Final = "comment"


class KandinskyReviewOperator(HITLOperator):
    """Show images to a person in Airflow's UI, and return those that were chosen.

    Returns (XCom ``return_value``) a list of the chosen images in the order of ``images``, each in the shape in which
    it came: its URL or URI, or its row with that image alone in ``urls``. XCom ``rejected`` has the others in the same
    way, ``images`` all of them, and ``comment`` what the person wrote.

    While it waits it holds no worker, and since Airflow 3.3 no triggerer either. All is checked before anything is
    shown. What was chosen is checked, too: if it is too few or too many, the form is shown again.

    :param images: the images: URLs or URIs, lists of them (as a mapped task returns), or rows with ``urls`` (as a batch
        returns); at most 200. Rows without an image are left out. Templated.
    :param minimum: how many have to be chosen at least. With 0 there is an option "None of them".
    :param maximum: how many may be chosen at most; any number if ``None``.
    :param subject: the headline; templated.
    :param body: Markdown above the images; templated.
    :param details: what to show beside the images: a prompt, or a mapping with ``prompt``, ``seed`` and ``cost`` in
        dollars, or several of these in a tuple; one for each entry of ``images``, or one for all. Rows may have their
        own. Templated.
    :param defaults: what holds once ``response_timeout`` has passed: ``"fail"``: the task fails; ``"none"`` or
        ``"all"`` of the images are chosen, if ``minimum`` and ``maximum`` allow it.
    :param response_timeout: how long to wait for the person; for ever if ``None``.
    :param with_comment: whether the form has a field for a comment.
    :param params: further fields of the form, as a DAG's params; what was entered is in XCom ``params_input``.
    :param assigned_users: who may answer, as dicts of ``id`` and ``name``; all who may edit task instances if ``None``.
    :param notifiers: called when the form is shown.
    :param kandinsky_conn_id: the connection, whose ``image_hosts`` may be shown; templated.
    :param output_path: where the images are stored, if they are: below it the gallery sends them to the browser.
        Default: that of the task that ``images`` is the result of. Templated.
    :raises AirflowFailException: an argument is not what it must be; or Airflow shows the form of an earlier try.
    :raises HITLTimeoutError: ``response_timeout`` has passed, with ``defaults="fail"``.
    """

    template_fields = ("subject", "body", "images", "details", "kandinsky_conn_id", "output_path")
    ui_color = "#f3e9fb"

    def __init__(
        self,
        *,
        images: Any,
        minimum: int = 1,
        maximum: int | None = 1,
        subject: str = "Choose among the images",
        body: str | None = None,
        details: Any = None,
        defaults: ReviewDefaults = "fail",
        response_timeout: timedelta | None = None,
        with_comment: bool = True,
        params: Mapping[str, Any] | None = None,
        assigned_users: HITLUser | list[HITLUser] | None = None,
        notifiers: Sequence[BaseNotifier] | BaseNotifier | None = None,
        kandinsky_conn_id: str = DEFAULT_CONN_ID,
        output_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        comment = {COMMENT: Param("", type=["string", "null"], title="Comment")}
        super().__init__(
            subject=subject,
            body=body,
            # Those of the images are known when the task runs.
            options=["Image 1"],
            multiple=maximum != 1,
            params=dict((params or {}).items()) | (comment if with_comment else {}),
            assigned_users=assigned_users,
            notifiers=notifiers,
            **kwargs | response_timeout_argument(response_timeout),
        )
        has_dag = self.has_dag()  # type: ignore[no-untyped-call]  # Airflow has not typed it
        if has_dag and not hasattr(ParamsDict, "filter_params_by_source"):
            # Before Airflow 3.2 params do not know whose they are, and a task gets its DAG's, too.
            for name in {*self.params} & {*self.dag.params} - {COMMENT}:
                del self.params[name]
        self.images = images
        self.minimum = minimum
        self.maximum = maximum
        self.details = details
        self.on_timeout = defaults
        self.with_comment = with_comment
        self.kandinsky_conn_id = kandinsky_conn_id
        self.output_path = output_path or _output_path_of(images)
        self._check_arguments()

    def execute(self, context: Context) -> Any:
        """Show the images, and wait for a person."""
        from airflow_provider_kandinsky.tasks.error_translation import translate_operator_errors

        with translate_operator_errors(context):
            candidates = self._candidates()
            if not candidates:
                self.log.info("There is no image to choose; nobody is asked")
                return []
            self._set_options(len(candidates))
            images = form.write_body(candidates, self._image_url(context))
            self.body = "\n\n".join(filter(None, (self.body, form.describe_choice(self.minimum, self.maximum), images)))
            # What is shown is what can be chosen, whatever the templates render to when the task resumes. The gallery
            # sends stored images by their position in it.
            context["ti"].xcom_push(key=IMAGES, value=[each.entry for each in candidates])
            self._check_form(context)
        self.log.info("Asking for a choice among %d images", len(candidates))
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Return what was chosen; show the form again if it is too few or too many."""
        ti = context["ti"]
        entries = ti.xcom_pull(task_ids=self.task_id, map_indexes=ti.map_index, key=IMAGES)
        if not isinstance(entries, list):
            raise AirflowFailException(
                "XCom images of this task is gone, so nobody knows what was shown. Clear the task."
            )
        self._set_options(len(entries))
        response = super().execute_complete(context, event)
        self.log.info("Chosen by %s: %s", response["responded_by_user"] or "timeout", response["chosen_options"])
        chosen = set(response["chosen_options"]) - {form.NONE}
        if not self.minimum <= len(chosen) <= (len(entries) if self.maximum is None else self.maximum):
            self.log.warning("%d images were chosen, which is not allowed; asking again", len(chosen))
            return self.execute(context)
        by_option = dict(zip(self.options, entries, strict=False))  # the option for none comes last
        ti.xcom_push(key=REJECTED, value=[each for option, each in by_option.items() if option not in chosen])
        if self.with_comment:
            ti.xcom_push(key=COMMENT, value=str(response["params_input"].get(COMMENT) or ""))
        if fields := {name: value for name, value in response["params_input"].items() if name != COMMENT}:
            ti.xcom_push(key="params_input", value=fields)
        return [each for option, each in by_option.items() if option in chosen]

    def _check_arguments(self) -> None:
        if not isinstance(self.minimum, int) or self.minimum < 0:
            raise invalid_argument("minimum", self.minimum, "an integer, 0 or more")
        if self.maximum is not None and (not isinstance(self.maximum, int) or self.maximum < max(self.minimum, 1)):
            raise invalid_argument("maximum", self.maximum, "an integer, 1 or more and no less than minimum, or None")
        check_choice("defaults", self.on_timeout, ReviewDefaults)
        if self.on_timeout == "none" and self.minimum > 0:
            raise invalid_argument("defaults", self.on_timeout, "fail or all, or minimum must be 0")

    def _candidates(self) -> list[form.Candidate]:
        candidates = form.list_candidates(self.images, self.details)
        count = len(candidates)
        if count < self.minimum:
            raise invalid_argument("images", f"({count} images)", f"at least {self.minimum} images, by minimum")
        if self.on_timeout == "all" and self.maximum is not None and count > self.maximum:
            raise invalid_argument("defaults", "all", f"fail or none: there are {count} images, and maximum is less")
        return candidates

    def _set_options(self, count: int) -> None:
        self.options = form.options_for(count, self.minimum)
        by_default = {"fail": None, "none": [form.NONE], "all": self.options[:count]}
        self.defaults = by_default[self.on_timeout]

    def _image_url(self, context: Context) -> Any:
        from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
        from airflow_provider_kandinsky.links.kandinsky import stored_image_path
        from airflow_provider_kandinsky.segmind.errors import ImageRefusedError
        from airflow_provider_kandinsky.segmind.http.downloads import browser_url

        hook = KandinskyHook(self.kandinsky_conn_id)  # reads the connection once, and only if a URL needs it

        def image_url(uri: str, index: int) -> str | None:
            if not uri.lower().startswith(("http:", "https:")):
                if not self.output_path:
                    raise invalid_argument("output_path", None, "where the images are stored, as some of them are")
                return stored_image_path(context["ti"], position=index)
            hosts = hook.settings.all_image_hosts
            try:
                return browser_url(uri, hosts)
            except ImageRefusedError as error:
                self.log.warning("Image %d is not shown: %s", index + 1, error)
                return None

        return image_url

    def _check_form(self, context: Context) -> None:
        """Before 3.4 Airflow keeps the first form of a task instance through retries and clears; only the response
        goes. A choice made by the old images would be taken for one among the new."""
        shown = show_form(
            ti_id=context["ti"].id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            defaults=self.defaults,
            multiple=self.multiple,
            params=self.serialized_params,
            assigned_users=self.assigned_users,
        )
        if (shown.options, shown.body) != (self.options, self.body):
            raise BadRequestError(
                "Airflow still shows the form of an earlier try, with other images, and cannot replace it. Start "
                "another run of the DAG to review the images that there are now. Nobody was asked."
            )


def _output_path_of(images: Any) -> str | None:
    """The ``output_path`` of the task whose result ``images`` is, if there is one such task."""
    if not isinstance(images, XComArg):
        return None
    paths = set()
    for task, _ in images.iter_references():
        path = getattr(task, "partial_kwargs", {}).get("output_path") or getattr(task, "output_path", None)
        paths.add(path if isinstance(path, str) else None)
    return paths.pop() if len(paths) == 1 else None
