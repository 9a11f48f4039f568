"""A StatsD server as far as a test needs one: a UDP socket, and what has come in."""

from __future__ import annotations

import socket
from typing import NamedTuple, Self


class Received(NamedTuple):
    """One line of StatsD's protocol, with the tags that InfluxDB's dialect puts into the name."""

    name: str
    value: float
    kind: str
    tags: dict[str, str]

    @classmethod
    def read(cls, line: str) -> Self:
        tagged_name, _, measured = line.rpartition(":")
        name, *tags = tagged_name.split(",")
        value, kind = measured.split("|")
        return cls(name.removeprefix("airflow."), float(value), kind, dict(tag.split("=") for tag in tags))


class StatsdSocket:
    """Bound to loopback, where a packet is there as soon as it is sent."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    @property
    def settings(self) -> dict[str, str]:
        """The environment of an Airflow that sends its metrics of jobs here, and no others: those are a flood."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self._socket.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
            "AIRFLOW__METRICS__METRICS_ALLOW_LIST": r"^kandinsky\.",
        }

    def received(self) -> list[Received]:
        """What has come in since the last time."""
        lines = []
        while True:
            try:
                lines += self._socket.recv(2**16).decode().splitlines()
            except BlockingIOError:
                return list(map(Received.read, lines))

    def sums(self) -> dict[str, float]:
        """What has come in since the last time, summed up by name: of the timings, how many."""
        sums: dict[str, float] = {}
        for each in self.received():
            sums[each.name] = round(sums.get(each.name, 0) + (each.value if each.kind == "c" else 1), 6)
        return sums
