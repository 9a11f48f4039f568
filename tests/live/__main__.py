"""``python -m tests.live``: with SEGMIND_API_KEY set, and consent by CONFIRM=1 or at a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from airflow_provider_kandinsky.segmind.constants import DEFAULT_BASE_URL, DEFAULT_HISTORY_URL
from airflow_provider_kandinsky.segmind.redaction import redact

from .questions import JOBS, Answer, Questions
from .recording import MAX_IMAGES, Recording

FOLDER = Path("build/live")
NOTICE = (
    f"This submits {len(JOBS)} jobs of {sum(images for _, images in JOBS.values())} images to {DEFAULT_BASE_URL} and "
    f"pays for them; never for more than {MAX_IMAGES}.\nThe model's page has no price; a sister model's is about "
    "$0.005 an image, so this may cost a few cents. All other calls are free.\n"
)


def main() -> int:
    """Ask, print the table and write the report; 1 if an assumption did not hold."""
    api_key = os.environ.get("SEGMIND_API_KEY", "").strip()
    if not api_key:
        sys.stderr.write("SEGMIND_API_KEY is not set. Nothing was submitted.\n")
        return 2
    sys.stdout.write(NOTICE)
    sys.stdout.flush()
    if not has_consent():
        sys.stderr.write("No consent: answer yes at a terminal, or set CONFIRM=1. Nothing was submitted.\n")
        return 2
    answers = asyncio.run(_ask(api_key))
    return 1 if any(answer.held is False for answer in answers) else 0


def has_consent() -> bool:
    """Whether the user agrees to the cost."""
    if os.environ.get("CONFIRM") == "1":
        return True
    return sys.stdin.isatty() and input("Go on? [yes/no] ").strip().lower() == "yes"


async def _ask(api_key: str) -> list[Answer]:
    async with httpx.AsyncClient(timeout=60.0, follow_redirects=False) as http:
        recording = Recording(http, api_key, DEFAULT_BASE_URL, DEFAULT_HISTORY_URL, time.time, asyncio.sleep)
        return await run(recording, FOLDER)


async def run(recording: Recording, folder: Path, polls: int = 150) -> list[Answer]:
    """Ask, and report what was seen even if that ends early.

    :param folder: gets ``table.txt``, ``answers.json`` (what the sandbox can be held against) and ``raw.json``.
    """
    questions = Questions(recording, polls)
    try:
        await questions.ask()
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        table = redact(table_of(questions.answers), recording.api_key)
        listed = json.dumps([answer.to_dict() for answer in questions.answers], indent=1, ensure_ascii=False)
        for name, text in (
            ("table.txt", table),
            ("answers.json", redact(listed, recording.api_key)),
            ("raw.json", recording.report()),
        ):
            (folder / name).write_text(text + "\n", encoding="utf-8")
        sys.stdout.write(f"{table}\n{recording.images} images were submitted. Raw answers: {folder}\n")
    return questions.answers


def table_of(answers: Sequence[Answer]) -> str:
    """The table as text."""
    words = {True: "held", False: "NOT HELD", None: "not seen"}
    rows = [("question", "assumed", "seen", "")]
    rows += [(each.question, each.assumed, each.seen, words[each.held]) for each in answers]
    widths = [min(60, max(len(row[column]) for row in rows)) for column in range(3)]
    return "\n".join("  ".join([*(row[c].ljust(widths[c]) for c in range(3)), row[3]]).rstrip() for row in rows)


def differences(seen: Sequence[Answer], fixture: str) -> list[str]:
    """The questions whose answers differ from those in a fixture, the text of an ``answers.json``."""
    real = {each["question"]: each["seen"] for each in json.loads(fixture)}
    return [each.question for each in seen if real.get(each.question, each.seen) != each.seen]


if __name__ == "__main__":
    sys.exit(main())
