"""Which links a task writes itself, and which the API server makes."""

from __future__ import annotations

import pytest

from airflow_provider_kandinsky.decorators.kandinsky import kandinsky_task
from airflow_provider_kandinsky.gallery.plugin import KandinskyGalleryPlugin
from airflow_provider_kandinsky.links.kandinsky import KandinskyImageLink, ServedImageLink, links_are_served
from airflow_provider_kandinsky.operators._base import GenerationOperator
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor
from airflow_provider_kandinsky.tasks.image_task import ImageTask


def subclasses(of: type) -> set[type]:
    return {each for child in of.__subclasses__() for each in (child, *subclasses(child))}


def test_the_api_server_makes_the_links_of_all_our_own() -> None:
    package = ImageTask.__module__.partition(".")[0]
    assert kandinsky_task is not None  # its operator is imported
    ours = {each for each in subclasses(ImageTask) if each.__module__.partition(".")[0] == package}
    assert {KandinskyTextToImageOperator, KandinskyTextToImageBatchOperator, KandinskyJobSensor} < ours
    named = {(each.__module__, each.__name__) for each in ServedImageLink.operators}
    common = {(GenerationOperator.__module__, GenerationOperator.__name__)}
    assert named == {(each.__module__, each.__name__) for each in ours} - common
    assert bool(KandinskyGalleryPlugin.operator_extra_links) == links_are_served()
    for each in ours:
        assert [type(link) for link in each.operator_extra_links] == (
            [] if links_are_served() else [KandinskyImageLink]
        )


@pytest.mark.parametrize("base", [KandinskyTextToImageOperator, KandinskyTextToImageBatchOperator, KandinskyJobSensor])
def test_a_users_own_operator_writes_its_link(base: type[ImageTask]) -> None:
    """Airflow compares names, so the API server does not know it."""
    own = type("Own", (base,), {"__module__": "dags.own"})
    assert [type(link) for link in own.operator_extra_links] == [KandinskyImageLink]
    other = KandinskyImageLink()
    assert type("Other", (base,), {"operator_extra_links": (other,)}).operator_extra_links == (other,)
    assert type("Child", (own,), {}).operator_extra_links == own.operator_extra_links
    assert type("None", (own,), {"operator_extra_links": ()}).operator_extra_links == ()
