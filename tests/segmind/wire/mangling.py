"""Good responses of every call, and a thousand ways to spoil them, drawn from a seed."""

from __future__ import annotations

import copy
import gzip
import json
import random
import zlib
from collections.abc import Callable
from typing import Any

import httpx

from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

KEY = "SG_f00dfeedc0ffee42"
URL = "https://images.segmind.com/1.jpeg"
PNG = b"\x89PNG\r\n\x1a\n and so on"
ROW = {
    "request_id": "r-1", "model_name": "m", "model_status": "COMPLETED", "request_body": {"prompt": "a cat", "seed": 7},
    "credits_deduction": 0.02, "generation_url": URL, "model_created": "2023-11-14T22:13:20Z",
}  # fmt: skip
DONE = {
    "status": "COMPLETED", "request_id": "r-1", "error": None, "output": URL, "images": [{"url": URL, "file_size": 5}],
    "seed": "123", "metrics": {"cost": 0.01, "inference_time": 13.06, "queue_time": 1}, "timings": {"total_time": "14"},
}  # fmt: skip
CAT = TextToImageRequest(prompt="a cat", seed=7)
#: Every call of a client.
CALLS: dict[str, Callable[[Any], Any]] = {
    "submit": lambda client: client.submit(CAT),
    "generate": lambda client: client.generate(CAT),
    "status": lambda client: client.get_status("r-1"),
    "result": lambda client: client.get_result("r-1"),
    "credits": lambda client: client.get_credits(),
    "history": lambda client: client.get_history("m", 1e9),
    "past request": lambda client: client.get_past_request("r-1"),
}
GOOD: dict[str, Any] = {
    "submit": {"request_id": "r-1", "status": "QUEUED", "status_url": "https://h/r-1/status"},
    "generate": DONE,
    "status": {"status": "COMPLETED", "request_id": "r-1", "metrics": {"inference_time": 13.06}},
    "result": DONE,
    "credits": {"credits": 1.5, "free-credits": "0.018"},
    "history": {"data": [ROW, ROW | {"request_id": "r-2", "model_status": "PENDING"}], "page": 1},
    "past request": {"data": [ROW, ROW | {"generation_url": URL + "?2"}]},
}
WORDS = (
    "COMPLETED", "FAILED", "QUEUED", "PENDING", "status", "request_id", "error", "detail", "html-message", "output",
    "url", "b64_json", "metrics", "cost", "credits", "data", "model_created", "request_body", "generation_url",
    "data:,x",
    "http://",
    "https://[", "2023-11-14", "2023-11-14 22:13:20", "9999-12-31T23:59:59-23:59", "Mon, 01 Jan 0001 00:00:00 +2359",
    "1e308", "-1", "NaN", "Infinity", "9" * 400, "9" * 5000,
    "0x7", "\u0661", "../../x", "..", "a b", "\0", "\ud800", "\udfff\ud800",
    "\u202e", "\x1b[2J", "\r\nX: y", KEY, f"https://h/?k={KEY}", "x" * 300, "https://h/" + "x" * 3000, "[[[[",
    '{"url":',
    json.dumps({"url": f"{URL}?{KEY}", "data": ["x"]}), "iVBORw0KGgo=", "data:image/png;base64,iVBORw0KGgo=",
    "<h1>" * 50, "", " ",
)  # fmt: skip
NUMBERS = (
    0,
    -1,
    1,
    2**53 + 1,
    2**64,
    -(2**70),
    10**400,
    10**4000,
    1e14,
    -1e300,
    1.7e308,
    5e-324,
    float("nan"),
    float("inf"),
)
TIMES = ("retry-after", "x-rate-limit-reset-at-utc")
STATUSES = (200, 201, 204, 302, 400, 401, 402, 403, 404, 405, 406, 408, 410, 422, 429, 500, 502, 504, 599, 999)


def _leaf(rng: random.Random) -> Any:
    return rng.choice((rng.choice(WORDS), rng.choice(NUMBERS), None, True, False, [], {}))


def _deep(rng: random.Random, value: Any) -> Any:
    for _ in range(rng.choice((1, 3, 9, 40, 200))):
        value = rng.choice(([value], {rng.choice(WORDS): value}, {"data": value}))
    return value


def _wide(rng: random.Random, value: Any) -> Any:
    return rng.choice(([value] * rng.choice((2, 30, 200)), {f"{URL}?{number}": value for number in range(50)}))


def _spoil_json(rng: random.Random, value: Any) -> Any:
    """One change somewhere in it."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.8:
        spot = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if isinstance(value, dict) and rng.random() < 0.2:
            value[rng.choice(WORDS)] = value.pop(spot)
        else:
            value[spot] = _spoil_json(rng, value[spot])
        return value
    return rng.choice((_leaf, _leaf, _leaf, lambda rng: _deep(rng, value), lambda rng: _wide(rng, value)))(rng)


def _escape(text: bytes) -> bytes:
    return text.replace(KEY.encode(), b"".join(b"\\u%04x" % each for each in KEY.encode()))


def _insert(rng: random.Random, body: bytes) -> bytes:
    spot = rng.randrange(len(body) + 1)
    return (
        body[:spot]
        + rng.choice((b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"{", b"[", b"]", b",", b"\\u0000", b"\n"))
        + body[spot:]
    )


def _as(encoding: str) -> Callable[[random.Random, bytes], bytes]:
    return lambda _, body: body.decode(errors="replace").encode(encoding, "replace")


SPOIL_BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *[lambda _, body: body] * 6,
    *map(_as, ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1")),
    _insert,
    lambda rng, body: body[: rng.randrange(len(body) + 1)],
    lambda _, body: _escape(body),
    lambda _, body: b"<html><title>" + body + b"</title>",
    lambda _, body: b"\x89PNG\r\n\x1a\n" + body,
    lambda _, body: body + body,
    lambda _, body: gzip.compress(body),
    lambda rng, body: rng.randbytes(rng.randrange(60)),
    lambda rng, body: b"<h1 " * 1000 if rng.random() < 0.2 else b"[" * 1000,
    lambda rng, body: b"[" + b"{}," * 300_000 + b"{}]" if rng.random() < 0.02 else body,
    lambda rng, body: b" " * (2**20 + 1) + body if rng.random() < 0.05 else body,
)  # fmt: skip


def mangled(rng: random.Random, call: str) -> httpx.Response:
    """A response to a call, spoilt in some ways, or in none."""
    body: Any = copy.deepcopy(GOOD[call])
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        body = _spoil_json(rng, body)
    content = rng.choice(SPOIL_BYTES)(rng, json.dumps(body).encode())
    headers: dict[str, bytes | str] = {}
    if rng.random() < 0.1:
        packed = rng.choice(("gzip", "deflate", "br", "gzip, gzip", "identity", "", "\u00ff", KEY))
        headers["content-encoding"] = packed.encode("latin-1")
        content = zlib.compress(content) if packed == "deflate" else content
    if rng.random() < 0.3:
        headers[rng.choice((*TIMES, "location", "set-cookie", "x-echo"))] = str(_leaf_of_header(rng)).encode(
            "utf-8", "replace"
        )
    status = 200 if rng.random() < 0.5 else rng.choice(STATUSES)
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


def _leaf_of_header(rng: random.Random) -> Any:
    leaf = _leaf(rng)
    return leaf if not isinstance(leaf, int) or leaf.bit_length() < 10_000 else "9" * 3000
