"""When a batch is to hand over what is finished: rules beside each other, in virtual time.

``python -m benchmarks.hand_over`` prints a table. The jobs are waited for by the package's own code; the service, the
worker starts and the submissions are times only, as they were measured in a real Airflow.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image, JobStatus
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller
from airflow_provider_kandinsky.triggers.hand_over import (
    DEFERRED_RULE,
    LAST_RULE,
    WORKER_RULE,
    HandOverRule,
    JobPolls,
    PendingJob,
)
from tests.segmind.virtual_time import T0, run

ITEMS: Final = 1000
MAX_IN_FLIGHT: Final = 200
#: Seconds that the submission of a group of 20 takes.
GROUP: Final = 0.15
#: Seconds from a trigger's event until the worker begins to submit, and from its deferral until the trigger waits.
WORKER_START: Final = 2.0
TRIGGER_START: Final = 1.0
#: Seconds that a trigger lives at least.
MIN_LIFETIME: Final = 8.0
#: Seconds that a worker needs to apply what came, if it has waited itself.
APPLY: Final = 0.1

Durations = Callable[[random.Random], float]


def with_stragglers(usual: Durations, share: float, seconds: float) -> Durations:
    """Jobs of which some take longer."""
    return lambda rng: seconds if rng.random() < share else usual(rng)


JOBS: Final[Mapping[str, Durations]] = {
    "2-6 s": lambda rng: rng.uniform(2, 6),
    "2-6 s, 2 % 60 s": with_stragglers(lambda rng: rng.uniform(2, 6), 0.02, 60),
    "2-6 s, 0.1 % 600 s": with_stragglers(lambda rng: rng.uniform(2, 6), 0.001, 600),
    "2-6 s, 2 % 600 s": with_stragglers(lambda rng: rng.uniform(2, 6), 0.02, 600),
    "2-6 s, 30 % 600 s": with_stragglers(lambda rng: rng.uniform(2, 6), 0.3, 600),
    "20-40 s": lambda rng: rng.uniform(20, 40),
    "20-40 s, 2 % 600 s": with_stragglers(lambda rng: rng.uniform(20, 40), 0.02, 600),
    "0-100 s": lambda rng: rng.uniform(0, 100),
    "100-200 s": lambda rng: rng.uniform(100, 200),
    "300-900 s": lambda rng: rng.uniform(300, 900),
    "5-20 s": lambda rng: rng.uniform(5, 20),
    "10-100 s": lambda rng: rng.uniform(10, 100),
    "exponential, 30 s": lambda rng: rng.expovariate(1 / 30),
}


class Batch:
    """One batch.

    :param rule: while more is to be submitted; ``None``: in waves.
    :param is_deferred: whether a trigger waits.
    """

    def __init__(self, durations: Durations, rule: HandOverRule | None, *, is_deferred: bool) -> None:
        self._rng = random.Random(1)
        self._durations = [durations(self._rng) for _ in range(ITEMS)]
        self._rule = rule
        self._is_deferred = is_deferred
        self._ends: dict[str, float] = {}

    async def run(self) -> tuple[int, float]:
        """How often something was handed over, and after how many seconds all was over."""
        now = asyncio.get_running_loop().time
        jobs: dict[str, PendingJob] = {}
        todo, rounds = list(range(ITEMS)), 0
        polls = JobPolls(self._poll, lambda: T0 + now())
        while todo or jobs:
            while todo and len(jobs) < MAX_IN_FLIGHT:
                group = [todo.pop(0) for _ in range(min(20, len(todo), MAX_IN_FLIGHT - len(jobs)))]
                await asyncio.sleep(GROUP)
                for number in group:
                    self._ends[str(number)] = now() + self._durations[number]
                    jobs[str(number)] = PendingJob(str(number), T0 + now(), math.inf)
            rule = None if self._rule is None else self._rule if todo else LAST_RULE
            outcomes = await (self._deferred(jobs, rule) if self._is_deferred else polls.collect(jobs.values(), rule))
            rounds += 1
            await asyncio.sleep(WORKER_START if self._is_deferred else APPLY)
            for request_id in outcomes:
                del jobs[request_id]
        return rounds, now()

    async def _deferred(self, jobs: Mapping[str, PendingJob], rule: HandOverRule | None) -> dict[str, Any]:
        now = asyncio.get_running_loop().time
        await asyncio.sleep(TRIGGER_START)
        started, polls = now(), JobPolls(self._poll, lambda: T0 + now())
        outcomes = await polls.collect(jobs.values(), rule)
        await asyncio.sleep(max(0.0, started + MIN_LIFETIME - now()))
        outcomes |= polls.take_finished()
        await polls.aclose()
        return outcomes

    async def _poll(self, job: PendingJob) -> GenerationResult:
        now = asyncio.get_running_loop().time
        poller = JobPoller(job.request_id, submitted_at=job.submitted_at, deadline=job.deadline, rng=self._rng.random)
        pause = poller.start(T0 + now())
        while True:
            await asyncio.sleep(pause)
            if now() >= self._ends[job.request_id]:
                return GenerationResult(job.request_id, (Image(url="http://localhost/a.png"),))
            pause = poller.on_status(JobStatus.PROCESSING, T0 + now())


def main() -> None:
    """Print a table: for each way to wait, the rounds and the seconds until all is over."""
    ways = {"deferred": (True, DEFERRED_RULE), "in a worker": (False, WORKER_RULE)}
    heading = [f"{way}, {rule}" for way in ways for rule in ("in waves", "handed over")]
    print("| jobs |" + "".join(f" {each} |" for each in heading))
    print("|---" * (len(heading) + 1) + "|")
    for name, durations in JOBS.items():
        cells = [
            run(Batch(durations, each, is_deferred=is_deferred).run())
            for is_deferred, rule in ways.values()
            for each in (None, rule)
        ]
        print(f"| {name} |" + "".join(f" {rounds}, {seconds:.0f} s |" for rounds, seconds in cells), flush=True)


if __name__ == "__main__":
    main()
