"""The bare TensorFlow call, in a process of its own: what no server can be faster than."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO

ROOT = Path(__file__).resolve().parents[1]


class BareModel:
    """A child process that has the model loaded through the runtime's own TensorFlow layer, and times its runs."""

    def __init__(self, bundle: Path, model: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, __file__, str(bundle), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> BareModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _pipe(self._child.stdin).close()
        self._child.wait(timeout=30)

    def latencies_us(self, calls: int, *, in_callers_thread: bool) -> list[float]:
        """The latency of each of `calls` runs, in microseconds."""
        requests = _pipe(self._child.stdin)
        requests.write(json.dumps([calls, in_callers_thread]) + "\n")
        requests.flush()
        answer: list[float] = json.loads(_pipe(self._child.stdout).readline())
        return answer


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the child was started without pipes")
    return stream


def _answer_questions(bundle_folder: Path, model: Path) -> None:
    """The child: reads `[calls, in_callers_thread]` a line, writes the latencies."""
    sys.path.insert(0, str(ROOT / "images" / "runtime"))
    # The child's own imports, here and not above: the parent needs neither the runtime nor the path to it.
    from stopgap_runtime.capi import Bundle, TensorFlow, in_pool  # noqa: PLC0415 - the child's
    from stopgap_runtime.capi.session import IN_CALLERS_THREAD  # noqa: PLC0415 - the child's
    from stopgap_runtime.host_tensor import of_array  # noqa: PLC0415 - the child's
    from stopgap_runtime.op_registry import OpRegistry  # noqa: PLC0415 - the child's
    from stopgap_runtime.saved_model import read_meta_graph  # noqa: PLC0415 - the child's
    from zoo_request import example_inputs  # noqa: PLC0415 - the child's

    bundle = Bundle.read(bundle_folder)
    tensorflow = TensorFlow(bundle)
    meta_graph = read_meta_graph(model / "1", {"serve"})
    for library in OpRegistry.read(bundle).libraries_for(meta_graph.ops):
        tensorflow.load_op_library(library)
    signature = meta_graph.signatures["serving_default"]
    session = tensorflow.load_model(model / "1", {"serve"}, threads=2, timeout_s=60)
    values = [of_array(array) for array in example_inputs(model).values()]
    inputs = session.endpoints([spec.tensor_name for spec in signature.inputs.values()])
    outputs = session.endpoints([spec.tensor_name for spec in signature.outputs.values()])
    for line in sys.stdin:
        calls, in_callers_thread = json.loads(line)
        options = IN_CALLERS_THREAD if in_callers_thread else in_pool(None)
        latencies = []
        for _ in range(calls):
            began = time.perf_counter()
            session.run(inputs, values, outputs, options)
            latencies.append((time.perf_counter() - began) * 1e6)
        print(json.dumps(latencies), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    _answer_questions(Path(sys.argv[1]), Path(sys.argv[2]))
