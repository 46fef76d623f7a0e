"""The example of docs/compare.md: recordings made of seeded numbers, and what the commands say of them.

`python -m tools.compare_example` shows it. The numbers come out of PCG64's own doubles alone, so that they are the same
everywhere.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from stopgap.cli.main import cli
from stopgap.client.npz import write_npz

__all__ = ["PLAN", "Step", "example"]

REQUESTS, CLASSES, WRONG = 1000, 4, 10
LONG_DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")

PLAN = """\
mode = "retrained"
independent = true

[[conditions]]
measure = "top_1"
output = "probs"
margin = 0.97
"""

Step = tuple[str, str, int]
"""What is typed, what is said, and the exit code."""


def example() -> Iterator[Step]:
    """All steps, in an empty folder of their own."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        runner = CliRunner(env={"STOPGAP_STATE": f"{folder}/state", "COLUMNS": "120"})
        try:
            os.chdir(folder)
            record()
            yield from steps(runner)
        finally:
            os.chdir(before)


def steps(runner: CliRunner) -> Iterator[Step]:
    """Among what was recorded, by the files' own names."""
    sides = "legacy.npz candidate.npz --data requests.npz"
    yield said(runner, f"compare {sides} --mode retrained --output probs --margin 0.97")
    found = said(runner, f"compare {sides} --find-map")
    yield found
    Path("plan.toml").write_text(f"{PLAN}\n{found[1]}\n", encoding="utf-8")
    yield said(runner, f"compare {sides} --plan plan.toml")
    yield said(runner, f"compare {sides} --plan plan.toml --self-test --draws 20")


def record() -> None:
    """The candidate calls its output otherwise, has its classes in another order, and decides 1 % otherwise."""
    drawn = np.random.default_rng(29)
    weights = drawn.random((REQUESTS, CLASSES)) ** 3
    probs = weights / weights.sum(axis=1, keepdims=True)
    scores = probs + 0.002 * (drawn.random(probs.shape) - 0.5)
    scores[:WRONG] = np.roll(scores[:WRONG], 2, axis=1)
    files = {
        "requests": {"x": drawn.random((REQUESTS, 2)).astype(np.float32)},
        "legacy": {"probs": probs.astype(np.float32)},
        "candidate": {"scores": scores.astype(np.float32)[:, [2, 0, 3, 1]]},
    }
    for name, arrays in files.items():
        Path(f"{name}.npz").write_bytes(write_npz(arrays))


def said(runner: CliRunner, typed: str) -> Step:
    """To stdout, then what a person sees besides."""
    result = runner.invoke(cli, typed.split())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    notices = [line for line in result.stderr.splitlines() if not line.endswith(" …") and line not in result.stdout]
    text = "\n".join([*result.stdout.splitlines(), *notices])
    lines = (line.rstrip() for line in LONG_DIGEST.sub(r"\1…", text).splitlines())
    return f"stopgap {typed}", "\n".join(lines).strip("\n"), result.exit_code


def main() -> int:
    """Shows it."""
    for typed, text, code in example():
        sys.stdout.write(f"$ {typed}\n{text}\n(exit code {code})\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
