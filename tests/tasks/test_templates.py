"""What renders to itself is not compiled, and nothing else is left as it is."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import pytest
from airflow.sdk import DAG
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment
from jinja2.ext import Extension
from jinja2.nativetypes import NativeEnvironment
from jinja2.sandbox import SandboxedEnvironment

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.tasks.templates import renders_to_itself


class Shouting(Extension):
    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return source.upper()


ENVIRONMENTS: dict[str, Environment] = {
    "Airflow's": DAG("of_templates", schedule=None).get_template_env(),
    "native": NativeEnvironment(),
    "marks of its own": SandboxedEnvironment(variable_start_string="<<", variable_end_string=">>"),
    "lines": SandboxedEnvironment(line_statement_prefix="%", line_comment_prefix="##"),
    "keeps the last newline": SandboxedEnvironment(keep_trailing_newline=True, newline_sequence="\r\n"),
    "an extension": SandboxedEnvironment(extensions=[Shouting]),
}

pieces = st.sampled_from(
    ["{", "}", "%", "#", "<", ">", "{{", "{%", "{#", "<<", ">>", "##", "\n", "\r", "a cat", " ", "5"]
)


@given(text=st.lists(pieces, max_size=6).map("".join) | st.text(), name=st.sampled_from([*ENVIRONMENTS]))
def test_what_is_said_to_render_to_itself_does(text: str, name: str) -> None:
    env = ENVIRONMENTS[name]
    if renders_to_itself(text, env):
        assert env.from_string(text).render() == text


@pytest.mark.parametrize("text", ["a cat", "", "50 % grey {or} so", "#1", "ein Käfer & <b>mehr</b>"])
def test_what_people_write_is_not_compiled(text: str) -> None:
    assert renders_to_itself(text, ENVIRONMENTS["Airflow's"])


def rendered(operator: Any, **context: Any) -> Any:
    operator.render_template_fields(context)
    return operator


def test_arguments_are_rendered_as_airflow_does() -> None:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1)):
        single = KandinskyTextToImageOperator(task_id="one", prompt="{{ what }}", negative_prompt="fog\n")
        rows = ["a {{ what }}", {"prompt": "a cat", "negative_prompt": "{# none #}"}]
        batch = KandinskyTextToImageBatchOperator(task_id="all", requests=rows, output_path="s3://b/{{ what }}/{index}")
    with DAG("native", schedule=None, start_date=datetime(2026, 1, 1), render_template_as_native_obj=True):
        native = KandinskyTextToImageOperator(task_id="one", prompt="a cat", seed="5")  # type: ignore[arg-type]  # it is a template
    assert (rendered(single, what="dog").prompt, single.negative_prompt) == ("dog", "fog")
    assert rendered(batch, what="dog").requests == ["a dog", {"prompt": "a cat", "negative_prompt": ""}]
    assert batch.output_path == "s3://b/dog/{index}"
    assert rendered(native).seed == 5


def test_an_enums_text_is_made_plain_as_jinja_does() -> None:
    class Prompt(StrEnum):
        CAT = "a cat"

    with DAG("enum", schedule=None, start_date=datetime(2026, 1, 1)):
        operator = KandinskyTextToImageOperator(task_id="one", prompt=Prompt.CAT)
    assert type(rendered(operator).prompt) is str


def test_a_file_is_still_read(tmp_path: Any) -> None:
    (tmp_path / "prompt.txt").write_text("a {{ what }}")

    class FromFile(KandinskyTextToImageOperator):
        template_ext = (".txt",)

    with DAG("files", schedule=None, start_date=datetime(2026, 1, 1), template_searchpath=str(tmp_path)):
        operator = FromFile(task_id="one", prompt="prompt.txt")
    assert rendered(operator, what="dog").prompt == "a dog"
