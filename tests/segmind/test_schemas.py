"""What is refused before it costs money, and what is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.request import fingerprint
from airflow_provider_kandinsky.segmind.schemas import Credits, GenerationResult, Image, JobStatus, TextToImageRequest

ALLOWED = {
    "prompt": "a string that is not blank",
    "negative_prompt": "a string",
    "scheduler": "DDIM or P-Sampler",
    "samples": "an integer from 1 to 8",
    "num_inference_steps": "an integer from 10 to 40",
    "guidance_scale": "a finite number",
    "seed": "an integer from 0 to 2**64 - 1, or -1 for a random one",
    "img_width": "512 or 1024",
    "img_height": "512 or 1024",
    "base64": "true or false",
}

#: Name, value, and how it is sent.
TAKEN: list[tuple[str, Any, Any]] = [
    ("prompt", "x", "x"),
    ("prompt", " a cat\n", " a cat\n"),
    ("negative_prompt", "dogs", "dogs"),
    ("negative_prompt", "", ""),
    ("scheduler", "DDIM", "DDIM"),
    ("scheduler", "P-Sampler", "P-Sampler"),
    ("samples", 1, 1),
    ("samples", 8, 8),
    ("samples", "1", 1),
    ("samples", "8", 8),
    ("num_inference_steps", 10, 10),
    ("num_inference_steps", 40, 40),
    ("num_inference_steps", "10", 10),
    ("num_inference_steps", "40", 40),
    ("guidance_scale", 7.5, 7.5),
    ("guidance_scale", "7.5", 7.5),
    ("guidance_scale", 0, 0.0),
    ("guidance_scale", -1, -1.0),
    ("seed", -1, -1),
    ("seed", "-1", -1),
    ("seed", 0, 0),
    ("seed", 2**63, 2**63),
    ("seed", str(2**63), 2**63),
    ("seed", 2**64 - 1, 2**64 - 1),
    *((side, value, int(value)) for side in ("img_width", "img_height") for value in (512, 1024, "512", "1024")),
    ("base64", True, True),
    ("base64", False, False),
    ("base64", "true", True),
    ("base64", "False", False),
]

REFUSED: list[tuple[str, Any]] = [
    *(("prompt", value) for value in (None, "", " \n\t", 5, ["a cat"], "a\0cat", "\ud800")),
    *(("negative_prompt", value) for value in (5, ["dogs"], True, "\0")),
    *(("scheduler", value) for value in ("ddim", "P-sampler", "", "Euler", 1, True)),
    *(("samples", value) for value in (0, 9, "0", "9", -1, 1.5, "1.5", "many", "", True, False, [1])),
    *(("num_inference_steps", value) for value in (9, 41, "9", "41", 20.5, True, False)),
    *(("guidance_scale", value) for value in (float("nan"), float("inf"), "nan", "-inf", "high", "", True, False)),
    *(("seed", value) for value in (-2, "-2", 0.5, "random", True, False, float("inf"), 2**64, str(2**64))),
    *(("img_width", value) for value in (511, 513, 1023, 1025, "768", 5121024, 0, True, "wide")),
    *(("img_height", value) for value in (511, 513, 1023, 1025, "768", 5121024, 0, False, "high")),
    *(("base64", value) for value in ("perhaps", 2, "")),
]


def test_the_table_covers_every_parameter() -> None:
    assert [*ALLOWED, "model_parameters"] == list(TextToImageRequest.model_fields)
    assert {name for name, *_ in TAKEN} == {name for name, _ in REFUSED} == set(ALLOWED)


@pytest.mark.parametrize(("name", "value", "sent"), TAKEN, ids=[f"{n}={v!r}" for n, v, _ in TAKEN])
def test_allowed_values_are_sent_as_the_service_has_them(name: str, value: Any, sent: Any) -> None:
    payload = TextToImageRequest(**{"prompt": "a cat", name: value}).payload()
    assert payload == {"prompt": "a cat", name: sent}
    assert type(payload[name]) is type(sent)


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[f"{n}={v!r}" for n, v in REFUSED])
def test_refusals_name_argument_value_and_range(name: str, value: Any) -> None:
    with pytest.raises(BadRequestError) as caught:
        TextToImageRequest(**{"prompt": "a cat", name: value})
    assert caught.value.message == (
        f"{name}={value!r} is not allowed: it must be {ALLOWED[name]}. Nothing was submitted."
    )
    assert caught.value.billing == "no"


def test_a_missing_prompt_is_named() -> None:
    with pytest.raises(BadRequestError) as caught:
        TextToImageRequest()  # type: ignore[call-arg]
    assert caught.value.message == ("prompt is missing: it must be a string that is not blank. Nothing was submitted.")


@pytest.mark.parametrize(
    ("wanted", "payload"),
    [
        ("a cat", {"prompt": "a cat", "samples": 2}),
        ({"prompt": "a cat", "seed": 7}, {"prompt": "a cat", "samples": 2, "seed": 7}),
        ({"prompt": "a cat", "samples": 3}, {"prompt": "a cat", "samples": 3}),
        ({}, {"prompt": "a dog", "samples": 2}),
    ],
    ids=str,
)
def test_what_is_wanted_goes_before_the_defaults(wanted: Any, payload: dict[str, Any]) -> None:
    defaults = {"prompt": "a dog", "samples": 2}
    assert TextToImageRequest.of(wanted, defaults).payload() == payload
    assert defaults == {"prompt": "a dog", "samples": 2}


@pytest.mark.parametrize("wanted", [None, 7, ["a cat"], ("a cat", 7), b"a cat", True], ids=repr)
def test_what_is_neither_prompt_nor_parameters_is_refused(wanted: Any) -> None:
    with pytest.raises(BadRequestError) as caught:
        TextToImageRequest.of(wanted, {"prompt": "a dog"})
    assert caught.value.message == (
        f"{wanted!r} is not allowed: it must be a prompt or a mapping of parameters. Nothing was submitted."
    )


def test_a_rejected_value_is_shortened_to_200_characters() -> None:
    with pytest.raises(BadRequestError) as caught:
        TextToImageRequest.of(["x" * 500], {})
    assert caught.value.message.startswith("['" + "x" * 198 + " is not allowed")
    with pytest.raises(BadRequestError) as caught:
        TextToImageRequest(prompt="a cat", scheduler="x" * 500)
    assert caught.value.message.startswith("scheduler='" + "x" * 199 + " is not allowed")


@pytest.mark.parametrize("wanted", ["", {"prompt": " "}, {"prompt": "a cat", "width": 512}], ids=str)
def test_what_is_wanted_is_checked_as_a_request(wanted: Any) -> None:
    with pytest.raises(BadRequestError, match="Nothing was submitted"):
        TextToImageRequest.of(wanted, {"samples": 2})


@pytest.mark.parametrize("name", ["width", "Samples", "img_size", "webhook"])
def test_unknown_names_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        TextToImageRequest(**{"prompt": "a cat", name: 1})
    assert f"{name} is not a parameter; there are {', '.join(ALLOWED)}, model_parameters" in caught.value.message


def test_all_rejected_fields_are_named_together() -> None:
    with pytest.raises(BadRequestError, match=r"samples=9 .*; seed=-2 .*; width is not a parameter"):
        TextToImageRequest(prompt="a cat", samples=9, seed=-2, width=3)  # type: ignore[call-arg]


def test_what_was_left_out_is_left_out_of_the_payload() -> None:
    unset = dict.fromkeys(set(ALLOWED) - {"prompt"})
    assert TextToImageRequest(prompt="a cat").payload() == {"prompt": "a cat"}
    assert TextToImageRequest(prompt="a cat", **unset).payload() == {"prompt": "a cat"}


def test_zero_and_false_are_not_unset() -> None:
    given = {"prompt": "a cat", "negative_prompt": "", "guidance_scale": 0.0, "seed": 0, "base64": False}
    assert TextToImageRequest(**given).payload() == given


@pytest.mark.parametrize("name", ["scheduler", "img_width", "img_height"])
def test_the_word_none_is_no_value(name: str) -> None:
    with pytest.raises(BadRequestError):
        TextToImageRequest(**{"prompt": "a cat", name: "None"})


@pytest.mark.parametrize("value", [" 512", "512\n", 512.0])
def test_sides_are_read_as_samples_are(value: Any) -> None:
    assert TextToImageRequest(prompt="a cat", samples="8\n").payload()["samples"] == 8
    assert TextToImageRequest(prompt="a cat", img_width=value).payload()["img_width"] == 512


def test_a_prompt_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(BadRequestError):
        TextToImageRequest(prompt="half an emoji: \ud83d")


def test_a_number_too_long_to_print_is_refused_in_words() -> None:
    with pytest.raises(BadRequestError, match="samples"):
        TextToImageRequest(prompt="a cat", samples=10**5000)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        *((status.value, status) for status in JobStatus),
        ("completed", JobStatus.COMPLETED),
        (" Failed\n", JobStatus.FAILED),
        ("processing", JobStatus.PROCESSING),
        ("WARMING_UP", JobStatus.UNKNOWN),
        ("", JobStatus.UNKNOWN),
        (None, JobStatus.UNKNOWN),
        (3, JobStatus.UNKNOWN),
        (["COMPLETED"], JobStatus.UNKNOWN),
    ],
    ids=repr,
)
def test_states_are_read_in_any_letter_case(word: Any, status: JobStatus) -> None:
    assert JobStatus.parse(word) is status
    assert status.is_terminal == (status in ("COMPLETED", "FAILED"))


FULL = GenerationResult(
    request_id="r-1",
    images=(Image(url="https://i/1"), Image(url="https://i/2")),
    model="m",
    seed=2**63,
    cost=0.02,
    inference_time=1.5,
    queue_time=0.5,
    total_time=2.0,
    polls=3,
)


@pytest.mark.parametrize(
    "result", [FULL, GenerationResult(None, (Image(url="https://i/1"),))], ids=["all fields", "least fields"]
)
def test_a_result_survives_its_round_trip(result: GenerationResult) -> None:
    assert GenerationResult.from_dict(result.to_dict()) == result


def test_a_result_written_by_a_newer_version_is_read() -> None:
    assert GenerationResult.from_dict(FULL.to_dict() | {"watermark": "none"}) == FULL


def test_a_result_written_by_an_older_version_is_read() -> None:
    assert GenerationResult.from_dict({"urls": ["https://i/1"]}) == GenerationResult(None, (Image(url="https://i/1"),))


@pytest.mark.parametrize(
    ("used", "sent", "reported"), [(None, 7, 7), (3, 7, 3), (0, 7, 0), (3, None, 3), (None, None, None)]
)
def test_the_seed_that_was_sent_is_used_if_the_service_returns_none(used: Any, sent: Any, reported: Any) -> None:
    result = replace(FULL, seed=used)
    assert result.with_seed(sent) == replace(FULL, seed=reported)


def test_image_bytes_stay_out_of_dicts_and_reprs() -> None:
    result = GenerationResult("r", (Image(url="https://i/1"), Image(data=b"\x89PNG pixels")))
    assert result.has_image_data
    assert result.to_dict()["urls"] == ["https://i/1"]
    assert "pixels" not in repr(result) + repr(result.to_dict())


def test_generation_tells_numbers_and_no_images() -> None:
    assert FULL.generation() == {
        "request_id": "r-1", "model": "m", "seed": 2**63, "cost": 0.02, "inference_time": 1.5, "queue_time": 0.5,
    }  # fmt: skip
    assert not FULL.has_image_data


@pytest.mark.parametrize(("paid", "free", "total"), [(1.5, 0.5, 2.0), (None, None, 0.0), (None, 0.5, 0.5)])
def test_credits_add_up(paid: float | None, free: float | None, total: float) -> None:
    assert Credits(paid, free).total == total


def test_a_submission_keeps_its_fingerprint() -> None:
    """The ledgers of earlier versions hold it: with another one, a retry after an upgrade would pay again."""
    payload = TextToImageRequest(
        prompt="K\u00e4the's cat", samples=2, guidance_scale=7.5, seed=7, base64=False
    ).payload()
    assert fingerprint("https://api.segmind.com", "kandinsky2.1-txt2im", payload) == (
        "eef6a9173597b471fa993d6827a61085e7700e26adc8bd8d939cecb3e03f2998"
    )


def test_equal_submissions_have_equal_fingerprints() -> None:
    assert fingerprint("u", "m", {"a": 1, "b": 2}) == fingerprint("u", "m", {"b": 2, "a": 1})


@pytest.mark.parametrize("other", [("v", "m", {"a": 1}), ("u", "n", {"a": 1}), ("u", "m", {"a": 2}), ("u", "m", {})])
def test_other_submissions_have_other_fingerprints(other: tuple[str, str, dict[str, int]]) -> None:
    assert fingerprint(*other) != fingerprint("u", "m", {"a": 1})
