"""Connections and secrets in a triggerer, whose event loop has one channel to its supervisor for all triggers."""

from __future__ import annotations

import asyncio
import socket
from threading import Thread
from typing import Any

import msgspec
import pytest
from airflow.sdk.execution_time import task_runner

from airflow_provider_kandinsky.compat.airflow import aget_connection, amask_secret


def supervise(end: socket.socket, asked: list[dict[str, Any]]) -> None:
    """Response as a supervisor does, whose connections are named after their ids, until the channel is closed."""
    with end, end.makefile("rb") as stream:
        while head := stream.read(4):
            request_id, body, *_ = msgspec.msgpack.decode(stream.read(int.from_bytes(head, "big")))
            asked.append(body)
            response = None
            if body["type"] == "GetConnection":
                response = dict.fromkeys(("host", "schema", "login", "port"))
                response |= {"type": "ConnectionResult", "conn_id": body["conn_id"], "conn_type": "kandinsky"}
                response |= {"password": f"SG_{body['conn_id']}", "extra": '{"requests_per_minute": 60}'}
            frame = msgspec.msgpack.encode([request_id, response, None])
            end.sendall(len(frame).to_bytes(4, "big") + frame)


async def in_a_triggerer(end: socket.socket, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Do what many triggers do when they start, all at once."""
    # Not above: it takes a second, which each process that collects the tests would pay for.
    from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder

    reader, writer = await asyncio.open_connection(sock=end)
    channel = TriggerCommsDecoder(async_writer=writer, async_reader=reader, socket=end)
    if hasattr(channel, "start_reader"):
        await channel.start_reader()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)

    async def start(number: int) -> Any:
        await amask_secret(f"SG_of_plan_{number}")
        return await aget_connection(f"plan_{number}")

    try:
        async with asyncio.timeout(20):
            return await asyncio.gather(*(start(number) for number in range(10)))
    finally:
        writer.close()


def test_every_trigger_gets_its_own_response(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    ours, theirs = socket.socketpair()
    Thread(target=supervise, args=(theirs, asked), daemon=True).start()
    found = asyncio.run(in_a_triggerer(ours, monkeypatch))

    assert [connection.password for connection, _ in found] == [f"SG_plan_{number}" for number in range(10)]
    assert [extra for _, extra in found] == [{"requests_per_minute": 60}] * 10
    assert sum(body["type"] == "GetConnection" for body in asked) == 10
