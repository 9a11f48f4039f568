"""The base of every task that ends in images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_kandinsky.compat.supervisor_wakeup import WakesSupervisor
from airflow_provider_kandinsky.links.kandinsky import written_links
from airflow_provider_kandinsky.observability.lineage import Lineage, OpenLineageMixin
from airflow_provider_kandinsky.tasks.templates import renders_to_itself

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
    from airflow_provider_kandinsky.results.delivery import OnStored
    from airflow_provider_kandinsky.segmind.schemas import GenerationResult


# An operator comes first: beside a first base without Airflow's arguments, Airflow takes their None for the defaults of
# a mapped task.
class ImageTask(WakesSupervisor, OpenLineageMixin):
    """A task with an image link, with lineage, and with an ``output_path``."""

    output_path: str | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.operator_extra_links and "operator_extra_links" not in vars(cls):
            cls.operator_extra_links = written_links(cls)

    def render_template(self, content: Any, context: Context, jinja_env: Any = None, seen_oids: Any = None) -> Any:
        """As Airflow's, which calls it for each text in the arguments."""
        is_text = type(content) is str and not content.endswith(tuple(self.template_ext))
        if is_text and jinja_env is not None and renders_to_itself(content, jinja_env):
            return content
        return super().render_template(content, context, jinja_env, seen_oids)

    def _note_lineage(self, request_id: str, model: str | None = None, prompt: str | None = None) -> None:
        """Have the lineage name a job, whatever becomes of it."""
        self.lineage = Lineage.of_request(request_id, model, prompt)

    def _deliver_result(
        self,
        result: GenerationResult,
        context: Context,
        hook: KandinskyHook,
        *,
        prompt: str | None = None,
        already_delivered: bool = False,
        on_stored: OnStored | None = None,
    ) -> list[str]:
        """Deliver a generation, see :func:`~airflow_provider_kandinsky.results.delivery.deliver`, and note its lineage.

        :param prompt: what was generated, if known.
        """
        from airflow_provider_kandinsky.results.delivery import deliver  # slow to import, and no DAG file needs it

        if self.lineage is None:
            # For a delivery that fails, in a sensor, which has noted no lineage before.
            self._note_lineage(str(result.request_id), prompt=prompt)
        uris = deliver(
            result,
            context,
            self.output_path,
            lambda: hook.settings.download_policy,
            already_delivered=already_delivered,
            on_stored=on_stored,
        )
        self.lineage = Lineage.of(result, uris, prompt)
        return uris
