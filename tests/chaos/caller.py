"""An open loop of callers, in a process of its own: each request at its time, whether those before are answered or not.

No request is sent again, none is left out: what is late is sent late, and how late is written down.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import grpc
from stopgap.client.tensors import to_array
from stopgap_protos.serving_pb2 import PredictResponse

from tests.chaos.requests import VARIETY, innocent, poison, remainders

METHOD: Final = "/tensorflow.serving.PredictionService/Predict"
TIMEOUT_S: Final = 10.0
OPTIONS: Final = [
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # It is the front's absence that is measured here, and not how long a client hesitates to look for it again.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]


class Caller:
    """Sends what the plan says.

    Args:
        plan: `address`, `model`, and `due`: the times, by the monotonic clock, of the innocent requests; `poison`:
            those of requests that end their worker.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._innocent = [innocent(plan["model"], number).SerializeToString() for number in range(VARIETY)]
        self._answers = [remainders(number) for number in range(VARIETY)]
        self.results: list[tuple[float, float, float, int, bool]] = []

    async def run(self) -> None:
        """Until the last is answered, or has failed."""
        due = [(at, number, False) for number, at in enumerate(self._plan["due"])]
        due += [(at, number, True) for number, at in enumerate(self._plan["poison"])]
        async with grpc.aio.insecure_channel(self._plan["address"], options=OPTIONS) as channel:
            call = channel.unary_unary(METHOD, None, None)
            under_way = set()
            for at, number, is_poison in sorted(due):
                if (left_s := at - time.monotonic()) > 0:
                    await asyncio.sleep(left_s)
                asked = self._poison(call, number) if is_poison else self._ask(call, at, number % VARIETY)
                under_way.add(asyncio.create_task(asked))
            await asyncio.gather(*under_way)

    async def _ask(self, call: Any, at: float, number: int) -> None:
        sent = time.monotonic()
        code, right = 0, False
        try:
            answer = await call(self._innocent[number], timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            code = error.code().value[0]
        else:
            right = to_array(PredictResponse.FromString(answer).outputs["r"]).tolist() == self._answers[number]
        self.results.append((at, sent, time.monotonic(), code, right))

    async def _poison(self, call: Any, number: int) -> None:
        request = poison(self._plan["model"], self._plan["first_poison"] + number).SerializeToString()
        try:
            await call(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return
        raise AssertionError("poison was answered")


def main() -> None:
    """Takes the plan's file and the results', both JSON."""
    plan, results = map(Path, sys.argv[1:])
    caller = Caller(json.loads(plan.read_text()))
    asyncio.run(caller.run())
    results.write_text(json.dumps(caller.results))


if __name__ == "__main__":
    main()
