"""From a legacy model to its retrained successor: shadowed, judged, given a share of the callers, promoted; retired.

`make demo-ab` runs it. All along users ask the legacy model's name; at the end it is said how many of them were failed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from stopgap.bundle_rows import default_row

from tools.demonstration import ROOT, ZOO_MODEL, chapter, console, free_port, serve, stopgap

if TYPE_CHECKING:
    from tools.demo_users import Users

LEGACY, SUCCESSOR = "stopgap-demo", "stopgap-demo-next"
OUT = ROOT / "build" / "demo-ab"
RESULT, REPORT, REQUESTS = OUT / "result.json", OUT / "report.html", OUT / "requests.npz"
MODERN = default_row("modern").name
MARGIN = 0.95
INCONCLUSIVE = 4
VERDICT_WITHIN_S = 60.0


def main() -> int:
    """Runs the demonstration and gives its exit code: 0 only when the successor took over and no user was failed."""
    began = time.monotonic()
    OUT.mkdir(parents=True, exist_ok=True)
    chapter("1. The legacy model is served from its sandbox")
    legacy = serve(ZOO_MODEL, LEGACY, free_port())
    with tempfile.TemporaryDirectory() as folder:
        try:
            chapter("2. Its successor: written anew for TensorFlow 2, trained on what the sandbox answers")
            train(Path(folder) / "1")
            serve(Path(folder), SUCCESSOR, port_of(legacy["grpc"]), "--bundle", MODERN, "--also-called", LEGACY)
            users = hand_over(legacy["grpc"])
        finally:
            chapter("8. And away with it")
            for name in (LEGACY, SUCCESSOR):
                stopgap("stop", name, accepted=(0, 1))
            stopgap("shadow", LEGACY, "--stop", "--forget", accepted=(0, 1))
    console.print(f"\n{users.told()}; all of it took {time.monotonic() - began:.0f} s.", soft_wrap=True)
    console.print(f"The report, for people: {REPORT}\nThe evidence, for programs: {RESULT}", soft_wrap=True)
    return 0 if not users.failed and users.last_model == SUCCESSOR else 1


def train(folder: Path) -> None:
    """Trains the successor and saves it; says how often it agrees where it was not trained."""
    from tools.successor import retrained  # noqa: I001, PLC0415 - takes seconds, after the heading
    import stopgap as package  # noqa: PLC0415 - after TensorFlow, which must be first to load its own protobuf

    began = time.monotonic()
    with package.load(LEGACY) as legacy:
        answer = legacy.signatures["serving_default"]

        def teacher(images: NDArray[np.float32]) -> NDArray[np.float32]:
            parts = [answer(image=part)["probs"] for part in np.array_split(images, len(images) // 256)]
            return np.concatenate([np.asarray(part) for part in parts])

        agrees = retrained(ZOO_MODEL / "1" / "variables" / "variables", teacher, folder)
    console.print(f"trained in {time.monotonic() - began:.0f} s; names the same class in {agrees:.1%} of unseen images")


def hand_over(address: str) -> Users:
    """Every stage in its order, each with the command that a person types, while users go on asking."""
    from tools.demo_users import USER_HEADER, Users  # noqa: PLC0415 - brings TensorFlow
    from tools.successor import drawings  # noqa: PLC0415 - likewise

    with Users(address, LEGACY) as users:
        chapter("3. Shadow: what users ask is asked of the successor too, while the legacy model answers them")
        shown = ("--mode", "retrained", "--measure", "top_1", "--output", "probs", "--margin", str(MARGIN))
        stopgap("shadow", LEGACY, "--candidate", SUCCESSOR, "--sample", "100%", *shown)
        chapter(f"4. The verdict: the same class for at least {MARGIN:.0%}? It may be looked at again and again")
        wait_for_a_verdict()
        stopgap("shadow", LEGACY, "--stop")
        chapter("5. Split: a quarter of the users, always the same ones")
        stopgap("split", LEGACY, "--candidate", SUCCESSOR, "--candidate-share", "25%", "--by", f"header:{USER_HEADER}")
        time.sleep(5)
        stopgap("split", LEGACY, "--show")
        chapter("6. Promote: on that evidence; a guard looks at errors and latency, and would roll back by itself")
        np.savez(REQUESTS, image=drawings(np.random.default_rng(3), 500))
        stopgap("promote", LEGACY, "--evidence", str(RESULT), "--requests", str(REQUESTS), "--watch", "5s")
        chapter("7. Retire: nobody asks for the legacy model itself any more, so its sandbox ends")
        stopgap("retire", LEGACY, "--after-days", "0")
        stopgap("status", LEGACY)
    return users


def wait_for_a_verdict() -> None:
    """Until it is PASS or FAIL. The last look leaves the evidence and the report."""
    deadline = time.monotonic() + VERDICT_WITHIN_S
    code = INCONCLUSIVE
    while code == INCONCLUSIVE and time.monotonic() < deadline:
        time.sleep(4)
        kept = ("--out", str(RESULT), "--report", str(REPORT))
        code = stopgap("shadow", LEGACY, "--show", *kept, accepted=(0, 3, INCONCLUSIVE))


def port_of(address: str) -> int:
    """Where both are served, so that one can take the other's name."""
    return int(address.rpartition(":")[2])


if __name__ == "__main__":
    sys.exit(main())
