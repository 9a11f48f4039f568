"""What is asked of the service, what this package and the sandbox assume, and what was seen."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL, IMAGE_HOST
from airflow_provider_kandinsky.segmind.schemas import parse_request_id
from airflow_provider_kandinsky.segmind.wire.images import collect_images

from .recording import Recording, parsed

PROMPT = "a red lighthouse on a white cliff"
SEED = 7
#: The jobs, by name, and how many images each is of: four in all.
JOBS: dict[str, tuple[dict[str, Any], int]] = {
    "one image": ({"samples": 1}, 1),
    "two images": ({"samples": 2}, 2),
    "base64": ({"base64": True}, 1),
}
_SHAPES = {
    "one image": "images: list of 1 objects; output: URL",
    "two images": "images: list of 2 objects; output: URL",
    "base64": "output: base64",
}
_ROW_KEYS = {"request_id", "request_body", "model_status", "credits_deduction"}
_STATES = {"QUEUED", "PROCESSING", "COMPLETED", "FAILED"}
_TIME_KEYS = ("model_created", "created_at", "created", "timestamp")
_JOB_TIMEOUT, _LONGEST_LAG, _LAG = 600.0, 60.0, 15.0


@dataclass(frozen=True)
class Answer:
    """One line of the table.

    :param held: whether the assumption held; ``None`` if that could not be seen.
    """

    question: str
    assumed: str
    seen: str
    held: bool | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Questions:
    """Asks all questions once.

    :param polls: so many polls of a finished job are made to find the rate limit.
    """

    def __init__(self, recording: Recording, polls: int = 150) -> None:
        self._recording = recording
        self._polls = polls
        self.answers: list[Answer] = []
        self._ids: dict[str, str] = {}
        self._submitted_at: dict[str, float] = {}
        self._results: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._states: list[str] = []
        self._lag: float | None = None

    def note(self, question: str, assumed: Any, seen: Any, held: bool | None = None) -> None:
        """Add a line; without ``held`` it held if what was seen is what was assumed, and ``None`` was not seen."""
        if seen is None:
            held = None
        elif held is None:
            held = seen == assumed
        self.answers.append(Answer(question, str(assumed), "not seen" if seen is None else str(seen), held))

    async def ask(self) -> list[Answer]:
        """Ask, and submit what :data:`JOBS` has."""
        before = await self._free_calls()
        for name, (parameters, images) in JOBS.items():
            await self._submit(name, parameters, images)
            if name not in self._ids:
                break  # nothing more is spent where the first answer is not understood
        for name, request_id in self._ids.items():
            await self._wait(name, request_id)
        self.note("states of a job", "of " + ", ".join(sorted(_STATES)), ", ".join(dict.fromkeys(self._states)) or None,
                  set(self._states) <= _STATES if self._states else None)  # fmt: skip
        self._ask_results()
        await self._ask_history()
        await self._ask_costs(before)
        await self._ask_limits()
        return self.answers

    async def _free_calls(self) -> float | None:
        recording = self._recording
        response = await recording.get(f"{recording.base_url}/v1/get-user-credits", "credits")
        body = parsed(response)
        keys = sorted(body) if isinstance(body, dict) else None
        self.note("keys of the credits", ["credits", "free-credits"], keys)
        bearer = await recording.get(f"{recording.base_url}/v1/get-user-credits", "credits as Bearer", bearer=True)
        self.note("the key sent as Bearer", 401, bearer.status_code)
        unknown = await recording.get(f"{recording.base_url}/v2/requests/no-such-request/status", "unknown id")
        self.note("status of an unknown request id", 404, unknown.status_code)
        model = await recording.submit("no-such-model", {"prompt": PROMPT}, 0, "unknown model")
        self.note("submission to an unknown model", 404, model.status_code)
        past = await recording.get(f"{recording.history_url}/no-such-request", "unknown id in the history")
        self.note("an unknown request id in the history", 404, past.status_code)
        return _credits(body)

    async def _submit(self, name: str, parameters: dict[str, Any], images: int) -> None:
        recording = self._recording
        payload = {"prompt": PROMPT, "seed": SEED, **parameters}
        response = await recording.submit(DEFAULT_MODEL, payload, images, f"submit {name}")
        body = parsed(response)
        request_id = parse_request_id(body.get("request_id")) if isinstance(body, dict) else None
        if request_id:
            self._ids[name], self._submitted_at[name] = request_id, recording.clock()
        if name != "one image":
            return
        self.note("submission", "2xx", response.status_code, response.is_success)
        headers = [header for header in response.headers if "rate" in header.lower() or "retry" in header.lower()]
        self.note("rate limit headers of a submission", "none", ", ".join(sorted(headers)) or "none")
        self.note("form of a request id", "uuid", _form_of(request_id))
        body = body if isinstance(body, dict) else {}
        self.note("status of a submission", "QUEUED", body.get("status"))
        hosts = {urlsplit(body[key]).netloc for key in ("status_url", "response_url") if isinstance(body.get(key), str)}
        own = urlsplit(recording.base_url).netloc
        self.note("hosts of status_url and response_url", "its own", ", ".join(sorted(hosts)) or None, hosts <= {own})

    async def _wait(self, name: str, request_id: str) -> None:
        recording = self._recording
        url, deadline = f"{recording.base_url}/v2/requests/{request_id}", recording.clock() + _JOB_TIMEOUT
        while recording.clock() < deadline:
            await self._ask_lag()
            body = parsed(await recording.get(f"{url}/status", f"status of {name}"))
            state = body.get("status") if isinstance(body, dict) else None
            if isinstance(state, str):
                self._states.append(state)
                if state.upper() in ("COMPLETED", "FAILED"):
                    break
            await recording.sleep(2.0)
        result = parsed(await recording.get(url, f"result of {name}"))
        self._results[name] = result if isinstance(result, dict) else {}

    def _ask_results(self) -> None:
        for name, result in self._results.items():
            self.note(f"shape of a result, {name}", _SHAPES[name], _shape_of(result))
            found = collect_images(result.get("images"), result.get("output"))
            self.note(f"images that are found, {name}", JOBS[name][1], len(found))
        result = self._results.get("one image", {})
        seed = result.get("seed")
        seen = f"{seed} as {type(seed).__name__}" if result else None
        self.note("the seed in the result", f"{SEED} as str", seen)
        metrics = result.get("metrics")
        keys = sorted(metrics) if isinstance(metrics, dict) else "no metrics"
        self.note("metrics", "with a cost", keys if result else None, "cost" in keys if result else None)
        urls = [image.url for image in collect_images(result.get("images"), result.get("output")) if image.url]
        hosts = {urlsplit(url).netloc for url in urls}
        allowed = {IMAGE_HOST, urlsplit(self._recording.base_url).netloc}
        self.note("host of the images", IMAGE_HOST, ", ".join(sorted(hosts)) or None, hosts <= allowed)

    async def _history(self, name: str, *, waits_out: bool = True) -> Any:
        recording = self._recording
        day = datetime.fromtimestamp(recording.clock() - 86400, UTC).date().isoformat()
        params = {"page": 1, "per_page": 100, "model_name": DEFAULT_MODEL, "from_date": day, "sort_order": "desc"}
        return await recording.get(recording.history_url, name, params, waits_out=waits_out)

    async def _ask_lag(self) -> None:
        """Ask the history for the first job until it has it."""
        first = self._ids["one image"]
        since = self._recording.clock() - self._submitted_at["one image"]
        if self._lag is None and since <= _LONGEST_LAG:
            _, rows = _container(parsed(await self._history("history, while a job runs")))
            if any(row.get("request_id") == first for row in rows):
                self._lag = since

    async def _ask_history(self) -> None:
        recording, now = self._recording, self._recording.clock
        first = self._ids.get("one image")
        while first and self._lag is None and now() - self._submitted_at["one image"] <= _LONGEST_LAG:
            await self._ask_lag()
            await recording.sleep(2.0)
        lag = self._lag
        seen = f"more than {_LONGEST_LAG:.0f} s" if lag is None else f"{lag:.0f} s"
        self.note("lag of the history", f"at most {_LAG:.0f} s", seen if first else None,
                  (lag is not None and lag <= _LAG) if first else None)  # fmt: skip
        container, rows = await self._billed_history()
        self.note("key of the history's list", "data", container)
        for name, request_id in self._ids.items():
            self._rows[name] = [row for row in rows if row.get("request_id") == request_id]
        found = self._rows.get("two images") or []
        self.note("rows of a request of two images", 2, len(found) if found else None)
        row = next(iter(self._rows.get("one image") or []), None)
        keys = sorted(row) if row else None
        self.note("keys of a row", f"with {', '.join(sorted(_ROW_KEYS))}", keys, set(keys or ()) >= _ROW_KEYS)
        key = next((key for key in _TIME_KEYS if row and row.get(key)), None)
        self.note("key of a row's time", _TIME_KEYS[0], key or ("none of the likely ones" if row else None))
        self.note("form of a row's time", "ISO 8601 with zone +00:00", _form_of_time(row[key]) if row and key else None)
        echoed = row.get("request_body") if row else None
        same = isinstance(echoed, dict) and echoed == {"prompt": PROMPT, "seed": SEED, "samples": 1}
        self.note("request_body of a row", "what was sent", sorted(echoed) if isinstance(echoed, dict) else None,
                  same if echoed else None)  # fmt: skip
        if first:
            one = await recording.get(f"{recording.history_url}/{first}", "one request of the history")
            self.note("one request of the history", 200, one.status_code)

    async def _billed_history(self) -> tuple[str | None, list[dict[str, Any]]]:
        """The history once it has the costs of all jobs, or as it is after a minute."""
        recording, deadline = self._recording, self._recording.clock() + _LONGEST_LAG
        while True:
            container, rows = _container(parsed(await self._history("history")))
            billed = {row.get("request_id") for row in rows if row.get("credits_deduction") is not None}
            if billed >= set(self._ids.values()) or recording.clock() >= deadline:
                return container, rows
            await recording.sleep(5.0)

    async def _ask_costs(self, before: float | None) -> None:
        costs = {name: _number((result.get("metrics") or {}).get("cost")) for name, result in self._results.items()}
        known = [cost for cost in costs.values() if cost is not None]
        deducted = [_number((self._rows.get(name) or [{}])[0].get("credits_deduction")) for name in costs]
        if known and len(known) == len(costs):
            self.note("cost of the jobs in the history", [round(each, 6) for each in known], deducted)
        else:
            self.note("cost of the jobs in the history", "as in the results", None)
        response = await self._recording.get(f"{self._recording.base_url}/v1/get-user-credits", "credits after")
        after = _credits(parsed(response))
        spent = None if before is None or after is None else round(before - after, 6)
        total = round(sum(known), 6) if known else "the sum of the costs"
        self.note("credits that were spent", total, spent if known else None)

    async def _ask_limits(self) -> None:
        """Poll a finished job until the rate limit is met; only then is it seen what counts, and what a 429 says."""
        recording, first = self._recording, self._ids.get("one image")
        if not first:
            return
        url = f"{recording.base_url}/v2/requests/{first}/status"
        for number in range(1, self._polls + 1):
            response = await recording.get(url, f"poll {number}", waits_out=False)
            if response.status_code == 429:
                break
        limited = response.status_code == 429
        seen = "yes" if limited else f"no 429 in {self._polls} polls"
        self.note("polls count against the limit", "yes", seen)
        reset = response.headers.get("x-rate-limit-reset-at-utc") if limited else None
        self.note("reset header of a 429", "epoch seconds", _form_of_time(reset) if limited else None)
        self.note("Retry-After of a 429", "none", response.headers.get("retry-after", "none") if limited else None)
        history = await self._history("history, after a 429", waits_out=False) if limited else None
        self.note("a history call after a 429", 200, history.status_code if history else None)


def _credits(body: Any) -> float | None:
    if not isinstance(body, dict) or _number(body.get("credits")) is None:
        return None
    return (_number(body["credits"]) or 0.0) + (_number(body.get("free-credits")) or 0.0)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _form_of(request_id: str | None) -> str | None:
    if request_id is None:
        return None
    is_uuid = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", request_id)
    return "uuid" if is_uuid else re.sub(r"[a-z]+", "a", re.sub(r"[A-Z]+", "A", re.sub(r"\d+", "9", request_id)))


def _shape_of(result: dict[str, Any]) -> str:
    return "; ".join(f"{key}: {_kind(result[key])}" for key in ("images", "output") if key in result) or "no image"


def _kind(value: Any) -> str:
    if isinstance(value, list):
        kinds = sorted({"objects" if isinstance(each, dict) else _kind(each) for each in value})
        return f"list of {len(value)} {' and '.join(kinds)}"
    if isinstance(value, dict):
        return f"object of {', '.join(sorted(value))}"
    if isinstance(value, str):
        for start, kind in (("http", "URL"), ("data:", "data URI"), ("[", "JSON text"), ("{", "JSON text")):
            if value.startswith(start):
                return kind
        return "base64" if len(value) > 200 else "text"
    return type(value).__name__


def _container(body: Any) -> tuple[str | None, list[dict[str, Any]]]:
    """The key of the one list of objects, and the list."""
    if isinstance(body, list):
        return "(the body is the list)", [row for row in body if isinstance(row, dict)]
    for key, value in body.items() if isinstance(body, dict) else ():
        if isinstance(value, list) and all(isinstance(row, dict) for row in value):
            return key, value
        if isinstance(value, dict):
            inner, rows = _container(value)
            if inner is not None:
                return f"{key}.{inner}", rows
    return None, []


def _form_of_time(value: Any) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        pass
    else:
        return "epoch seconds" if number < 1e11 else "epoch milliseconds"
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return "none" if value is None else "another form"
    if len(str(value)) <= len("2026-01-01"):
        return "a day alone"
    return _zone_of(moment)


def _zone_of(moment: datetime) -> str:
    if moment.tzinfo is None:
        return "ISO 8601 without a zone"
    return f"ISO 8601 with zone {moment.isoformat()[-6:]}"
