"""The form of a review: which images it shows, and the Markdown that shows them. Does no I/O.

Prompts, URLs and rows come from elsewhere, so none of them reaches the Markdown unescaped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from airflow_provider_kandinsky.segmind.errors import BadRequestError

#: More options than this are no longer a choice that a person can make.
MAX_IMAGES: Final = 200
#: Up to so many images are shown one below the other, with their details beside them; more in contact rows.
MAX_ROWS: Final = 12
#: Characters shown of a prompt.
_MAX_PROMPT: Final = 400
#: The option for choosing no image.
NONE: Final = "None of them"

#: Maps an image's URI and its position to the URL that a browser loads it from; ``None`` if it may not be shown.
ImageUrl: TypeAlias = Callable[[str, int], str | None]

_WHAT_IMAGES_ARE: Final = "URLs, URIs, or rows with `urls`, as an operator, a mapped task or a batch returns them"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image that may be chosen.

    :param entry: what the review returns for it: its URI, or its row with this image alone.
    :param cost: dollars, of its whole generation.
    :param samples: how many images that generation has.
    """

    entry: str | Mapping[str, Any]
    uri: str
    prompt: str | None = None
    seed: int | None = None
    cost: float | None = None
    samples: int = 1


def list_candidates(images: Any, details: Any = None) -> list[Candidate]:
    """List the images one by one, in their order. Rows without an image, such as failed ones, are left out.

    :param images: see :class:`~.review.KandinskyReviewOperator`.
    :param details: see there.
    :raises BadRequestError: naming the argument that is not what it must be.
    """
    if isinstance(images, (str, Mapping)):
        images = [images]
    if not isinstance(images, Sequence):
        raise _invalid("images", images, _WHAT_IMAGES_ARE)
    # A mapped task's results are a lazy sequence, of which a slice is one call and each item would be another.
    entries = list(images[:])
    described = _details_of_each(details, len(entries))
    # One mapping for all is of the one generation whose result they are.
    samples = len(entries) if isinstance(details, Mapping) else 1
    pairs = zip(entries, described, strict=True)
    candidates = [each for entry, about in pairs for each in _flatten(entry, about, samples)]
    if len(candidates) > MAX_IMAGES:
        allowed = f"at most {MAX_IMAGES} images; map the review over parts of them"
        raise _invalid("images", f"({len(candidates)} images)", allowed)
    return candidates


def option(index: int) -> str:
    """The option of an image, by its index."""
    return f"Image {index + 1}"


def options_for(count: int, minimum: int) -> list[str]:
    """The options of so many images."""
    return [*map(option, range(count)), *([NONE] if minimum == 0 else [])]


def describe_choice(minimum: int, maximum: int | None) -> str:
    """What the person has to do, as one sentence."""
    if maximum is None:
        return f"Choose at least {minimum}." if minimum else "Choose any number of them."
    if minimum == maximum:
        return "Choose one." if minimum == 1 else f"Choose exactly {minimum}."
    if minimum:
        return f"Choose {minimum} to {maximum}."
    return "Choose one, or none of them." if maximum == 1 else f"Choose at most {maximum}."


def write_body(candidates: Sequence[Candidate], image_url: ImageUrl) -> str:
    """The images as Markdown: Airflow shows each at up to 300 px, and tables of two columns fit its page."""
    cells = [_image_cell(each, index, image_url) for index, each in enumerate(candidates)]
    captions = [_caption(each, index) for index, each in enumerate(candidates)]
    if len(candidates) <= MAX_ROWS:
        lines = ["| Image | |", "| --- | --- |"]
        return "\n".join([*lines, *(f"| {cell} | {text} |" for cell, text in zip(cells, captions, strict=True))])
    pages = range(0, len(candidates), MAX_ROWS)
    return "\n\n".join("\n".join(_contact_rows(cells, captions, start)) for start in pages)


def _contact_rows(cells: Sequence[str], captions: Sequence[str], start: int) -> Iterator[str]:
    """Images two by two, each above its details, under a heading for every :data:`MAX_ROWS`."""
    stop = min(start + MAX_ROWS, len(cells))
    yield f"### Images {start + 1} to {stop} of {len(cells)}"
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    for left in range(start, stop, 2):
        for row in (cells, captions):
            yield f"| {row[left]} | {row[left + 1] if left + 1 < stop else ''} |"


def _image_cell(candidate: Candidate, index: int, image_url: ImageUrl) -> str:
    url = image_url(candidate.uri, index)
    if url is None:
        return "*not shown: it is not at a host that images may come from*"
    return f"![{option(index)}](<{_escape_url(url)}>)"


def _caption(candidate: Candidate, index: int) -> str:
    parts = [f"**{option(index)}**"]
    if candidate.prompt:
        parts.append(escape(candidate.prompt))
    if candidate.seed is not None:
        parts.append(f"seed {candidate.seed}")
    if candidate.cost is not None:
        parts.append(f"${candidate.cost:g}" + (f" for {candidate.samples} images" if candidate.samples > 1 else ""))
    return " · ".join(parts)


def escape(text: str) -> str:
    """Escape a text for a cell of a Markdown table, so that it is shown as it is, on one line, and not too long."""
    visible = "".join(" " if unicodedata.category(each) in _NOT_SHOWN else each for each in text[: 4 * _MAX_PROMPT])
    line = " ".join(visible.split())
    if len(line) > _MAX_PROMPT or len(text) > 4 * _MAX_PROMPT:
        line = line[:_MAX_PROMPT].rstrip() + "…"
    # Markdown takes a backslash before any ASCII punctuation. What is left of a URL would still be made a link.
    escaped = re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", line)
    return re.sub(r"(?i)(www|\\:\\/\\/|\\@)", "\\1\N{WORD JOINER}", escaped)


#: Control characters, line breaks, unassigned ones, half surrogate pairs, and what reverses the direction of text.
_NOT_SHOWN: Final = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def _escape_url(url: str) -> str:
    return re.sub(
        r"[^!#-;=?-\[\]_a-z~]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode(errors="replace")), url
    )


def _details_of_each(details: Any, count: int) -> list[Mapping[str, Any]]:
    if details is None or isinstance(details, (str, Mapping)):
        return [_merged(details)] * count
    if not isinstance(details, Sequence):
        raise _invalid("details", details, _WHAT_DETAILS_ARE)
    each = list(details[:])
    if len(each) != count:
        raise _invalid(
            "details", f"({len(each)} entries)", f"one for each of the {count} entries of images, or one for all"
        )
    return [_merged(entry) for entry in each]


_WHAT_DETAILS_ARE: Final = "prompts, or mappings with `prompt`, `seed` and `cost`: one for each entry of images, or one"


def _merged(about: Any) -> Mapping[str, Any]:
    if about is None:
        return {}
    if isinstance(about, str):
        return {"prompt": about}
    if isinstance(about, Mapping):
        return about
    if isinstance(about, (tuple, list)):  # as zip() of two XComs gives them
        return {name: value for part in about for name, value in _merged(part).items()}
    raise _invalid("details", about, _WHAT_DETAILS_ARE)


def _flatten(entry: Any, about: Mapping[str, Any], samples: int, *, is_nested: bool = False) -> Iterator[Candidate]:
    if isinstance(entry, str):
        yield Candidate(entry, _uri(entry), samples=samples, **_shown(about))
    elif isinstance(entry, Mapping):
        yield from _images_of_row(entry, about)
    elif isinstance(entry, (list, tuple)) and not is_nested:  # a mapped batch gives a list of rows for each instance
        for each in entry:
            yield from _flatten(each, about, len(entry), is_nested=True)
    else:
        raise _invalid("images", entry, _WHAT_IMAGES_ARE)


def _images_of_row(row: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[Candidate]:
    urls = row.get("urls")
    if not isinstance(urls, list):
        raise _invalid("images", dict(row), _WHAT_IMAGES_ARE)
    arguments = row.get("arguments")
    shown = _shown({**about, **(arguments if isinstance(arguments, Mapping) else {}), **_given(row)})
    for index, uri in enumerate(urls):
        entry = {**row, "urls": [uri]}
        sources = row.get("source_urls")
        if isinstance(sources, list) and len(sources) == len(urls):
            entry["source_urls"] = [sources[index]]
        yield Candidate(entry, _uri(uri), samples=len(urls), **shown)


def _given(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: row[name] for name in ("prompt", "seed", "cost") if row.get(name) is not None}


def _shown(about: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of an image; values of another type are not."""
    prompt, seed, cost = (about.get(name) for name in ("prompt", "seed", "cost"))
    return {
        "prompt": prompt if isinstance(prompt, str) else None,
        "seed": seed if isinstance(seed, int) and abs(seed) < 2**64 else None,
        "cost": float(cost) if isinstance(cost, (int, float)) and abs(cost) < 1e9 else None,
    }


def _uri(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[^\s\x00-\x1f]{1,4000}", value) or "/" not in value:
        raise _invalid("images", value, _WHAT_IMAGES_ARE)
    return value


def _invalid(name: str, value: Any, allowed: str) -> BadRequestError:
    return BadRequestError(f"{name}={_short(value)} is not allowed: it must be {allowed}. Nobody was asked.")


def _short(value: Any) -> str:
    try:
        return f"{value!r:.200}"
    except (RecursionError, ValueError):  # nested too deeply, or an integer of thousands of digits
        return f"({type(value).__name__})"
