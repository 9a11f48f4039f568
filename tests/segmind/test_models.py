"""What is known of the models, and what is sent beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_kandinsky.durable.matching import Intent, Match
from airflow_provider_kandinsky.segmind.errors import BadRequestError, InvalidResponseError, ModelRetiredError
from airflow_provider_kandinsky.segmind.models import CATALOGUE, other_models_of_family
from airflow_provider_kandinsky.segmind.request import fingerprint
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest
from airflow_provider_kandinsky.segmind.wire.history import read_history
from airflow_provider_kandinsky.segmind.wire.jobs import read_submission
from airflow_provider_kandinsky.segmind.wire.models import read_models
from airflow_provider_kandinsky.segmind.wire.response import Response

SECOND = "kandinsky2.2-txt2img"


def response(body: Any, status: int = 200) -> Response:
    return Response(status, {}, json.dumps(body).encode(), 0.0)


def payload_of(model: str = "new-model", **parameters: Any) -> dict[str, Any]:
    return TextToImageRequest.of({"prompt": "a cat", **parameters}, model=model).payload()


def refusal_of(model: str = "new-model", **parameters: Any) -> str:
    with pytest.raises(BadRequestError) as caught:
        payload_of(model, **parameters)
    assert caught.value.billing == "no"
    assert caught.value.message.endswith(". Nothing was submitted.")
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "value", "first", "second", "other"),
    [
        ("num_inference_steps", 15, True, False, True),
        ("num_inference_steps", 100, False, True, True),
        ("img_width", 768, False, True, True),
        ("img_width", 0, False, False, True),
        ("scheduler", "Euler", False, True, True),
        ("samples", 9, False, True, True),
        ("samples", 17, False, False, False),
        ("guidance_scale", "much", False, False, False),
    ],
)
def test_ranges_are_those_of_the_model(name: str, value: Any, first: bool, second: bool, other: bool) -> None:
    for model, is_allowed in {"kandinsky2.1-txt2im": first, SECOND: second, "new-model": other}.items():
        if is_allowed:
            assert payload_of(model, **{name: value}) == {"prompt": "a cat", name: value}
        else:
            assert f"{name}={value!r} is not allowed" in refusal_of(model, **{name: value})


def test_parameters_of_a_model_are_sent_beside_the_arguments_and_read_back() -> None:
    own = {"prior_steps": "25", "negative_prior_prompt": "fog", "loras": [{"id": 1, "weight": 0.5}], "left_out": None}
    request = TextToImageRequest.of({"prompt": "a cat", "seed": 7, "model_parameters": own}, model=SECOND)
    sent = {"prior_steps": 25, "negative_prior_prompt": "fog", "loras": [{"id": 1, "weight": 0.5}]}
    assert request.payload() == {"prompt": "a cat", "seed": 7, **sent}
    arguments = {"prompt": "a cat", "seed": 7, "model_parameters": sent}
    assert TextToImageRequest.arguments_in(request.payload()) == arguments
    own["loras"][0]["weight"] = 1  # type: ignore[index]  # a list
    assert request.payload()["loras"] == sent["loras"]


def test_parameters_are_part_of_the_fingerprint_and_none_leave_it_as_it_was() -> None:
    prints = [fingerprint("u", "m", payload_of(model_parameters=own)) for own in (None, {}, {"x": None}, {"x": 1})]
    assert prints[0] == prints[1] == prints[2] == fingerprint("u", "m", {"prompt": "a cat"}) != prints[3]


@pytest.mark.parametrize("name", ["prompt", "seed", "Seed", " seed", "base64", "samples", "img-width", "model"])
@pytest.mark.parametrize("value", [4, None])
def test_an_argument_is_never_set_through_them(name: str, value: Any) -> None:
    message = refusal_of(seed=7, model_parameters={name: value})
    assert f"model_parameters[{name!r}]={value!r} is not allowed beside the argument " in message
    assert name.strip() != "seed" or "argument seed=7" in message


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        ["x"],
        {1: 2},
        {"": 1},
        {"__classname__": "os.system"},
        {"a b": 1},
        {"x": {"__type": 1}},
        {"x": {1: 2}},
        {"x": object()},
        {"x": b"bytes"},
        {"x": float("nan")},
        {"x": 2**64},
        {"x": 10**5000},
        {"x": "a\0b"},
        {"x": "\ud800"},
        {"x": "y" * 20_000},
        {f"x{number}": 1 for number in range(65)},
        {"x": [[[[[[[[[1]]]]]]]]]},
    ],
    ids=lambda value: str(type(value)) + str(len(value)),
)
def test_what_is_no_bounded_json_is_refused(value: Any) -> None:
    assert "model_parameters" in refusal_of(model_parameters=value)


def test_what_is_known_of_a_model_is_checked() -> None:
    assert "model_parameters['prior_steps']='many' is not allowed: it must be an integer of at least 1" in refusal_of(
        SECOND, model_parameters={"prior_steps": "many"}
    )
    assert payload_of(model_parameters={"prior_steps": "many"})["prior_steps"] == "many"


def test_an_items_parameters_go_before_those_of_all_one_by_one() -> None:
    shared = {"model_parameters": {"a": 1, "b": 2}}
    for own, sent in (({"b": 3}, {"a": 1, "b": 3}), ({"a": None}, {"b": 2}), (None, {})):
        request = TextToImageRequest.of({"prompt": "a cat", "model_parameters": own}, shared, "new-model")
        assert request.payload() == {"prompt": "a cat", **sent}


def test_a_retired_model_names_the_others_of_its_family() -> None:
    for slug, named in (("kandinsky2.1-txt2im", SECOND), ("kandinsky9", " or ".join(CATALOGUE)), ("flux", None)):
        with pytest.raises(ModelRetiredError) as caught:
            read_submission(response({"error": "gone"}, 410), slug)
        assert caught.value.message == (
            f"The model is retired; set another one as `model`{f', such as {named}' if named else ''}: gone"
        )
    assert other_models_of_family(SECOND) == ["kandinsky2.1-txt2im"]


@pytest.mark.parametrize(
    "body",
    [
        ["a-1", "b-2", "a-1"],
        [{"slug": "a-1", "name": "The A"}, {"model_name": "b-2"}],
        {"status": 1, "data": {"models": [{"name": "The A", "model": "a-1"}, {"name": "b-2"}, 7, None]}},
    ],
)
def test_the_list_of_models_is_read_in_any_likely_form(body: Any) -> None:
    assert read_models(response(body)) == ["a-1", "b-2"]


@pytest.mark.parametrize("body", [None, {}, [], [{"name": "The A"}], {"data": "a-1"}, ["../x", "a b", "x" * 201]])
def test_a_list_without_a_slug_is_an_error(body: Any) -> None:
    with pytest.raises(InvalidResponseError, match="list of models"):
        read_models(response(body))


def test_the_list_of_models_is_bounded() -> None:
    assert len(read_models(response([f"m{number}" for number in range(5000)]))) == 2000


@pytest.mark.parametrize(
    ("echoed", "match"),
    [
        ({"x": 1, "y": {"z": 1}}, Match.YES),
        ({"x": "1", "y": {"z": 1}}, Match.YES),
        ({}, Match.DOUBTFUL),
        ({"x": 1}, Match.DOUBTFUL),
        ({"x": 1, "y": '{"z": 1}'}, Match.DOUBTFUL),
        ({"x": 2, "y": {"z": 1}}, Match.NO),
    ],
)
def test_a_row_that_lacks_only_them_is_in_doubt(echoed: dict[str, Any], match: Match) -> None:
    own = {"x": 1, "y": {"z": 1}}
    intent = Intent({"prompt": "a cat", "seed": 7, **own}, 1000.0, 1020.0, model_parameters=frozenset(own))
    body = {"prompt": "a cat", "seed": 7, **echoed}
    (row,) = read_history(response([{"request_id": "r", "request_body": body, "model_created": 1001}]))
    assert intent.match(row) is match


@pytest.mark.parametrize(
    ("model", "given", "count"),
    [
        ("kandinsky2.1-txt2im", {}, 1),
        ("kandinsky2.1-txt2im", {"samples": 3}, 3),
        ("kandinsky2.1-txt2im", {"base64": True}, None),
        ("kandinsky2.1-txt2im", {"model_parameters": {"num_images": 4}}, None),
        ("kandinsky2.2-txt2img", {"model_parameters": {"prior_steps": 4}}, 1),
        ("other-model", {"samples": 3}, None),
    ],
)
def test_how_many_images_a_job_makes_is_known_of_known_models(
    model: str, given: dict[str, Any], count: int | None
) -> None:
    assert TextToImageRequest(prompt="a cat", **given).url_count(model) == count
