"""The long run: libFuzzer, guided by the coverage of Python's code, through atheris.

`python -m tests.fuzz run [--seconds S] [TARGET …]` gives each target its share of the time. What is worth going on from
stays in build/fuzz/TARGET/corpus; what breaks something is made shorter and printed with the command that replays it.
`python -m tests.fuzz replay TARGET FILE …` is that command. An input that was found, and mended, belongs into
tests/fuzz/corpus/TARGET, where `make test` looks at it for good.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.minimising import fault_of, minimised
from tests.fuzz.target import Target, held_memory
from tests.fuzz.targets import BUILD, TARGETS, replay_command

_SECONDS = 600
_TALLY = re.compile(r"^#\d.*", re.MULTILINE)  # what libFuzzer says now and then of its figures


def main() -> int:
    """Runs a command; 1 if something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="look for new inputs")
    run.add_argument("--seconds", type=int, default=_SECONDS, help=f"for all targets together; {_SECONDS}")
    run.add_argument("targets", nargs="*", metavar="TARGET", default=[], help=f"of {', '.join(TARGETS)}; all")
    replay = commands.add_parser("replay", help="look at inputs again")
    replay.add_argument("target", choices=TARGETS)
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.command == "replay":
        for file in given.files:
            check(TARGETS[given.target], file.read_bytes())
            say(f"{file}: holds")
        return 0
    if unknown := [name for name in given.targets if name not in TARGETS]:
        parser.error(f"there is no target {', '.join(unknown)}")
    targets = [TARGETS[name] for name in given.targets or TARGETS]
    broken = [target.name for target in targets if not holds(target, max(1, given.seconds // len(targets)))]
    say(f"broken: {', '.join(broken)}" if broken else "nothing broke")
    return min(1, len(broken))


def holds(target: Target, seconds: int) -> bool:
    """Whether a target holds for so long."""
    folder = BUILD / target.name
    before = set(folder.glob("found-*"))
    command = [sys.executable, "-m", "tests.fuzz.exploring", target.name, str(seconds)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    tallies = _TALLY.findall(ended.stderr)
    say(f"{target.name}: {' '.join(tallies[-1].split()) if tallies else ended.stderr[-3000:]}")
    new = set(folder.glob("found-*")) - before
    for file in sorted(new):
        report(target, file)
    return not new and not ended.returncode


def report(target: Target, file: Path) -> None:
    """What an input breaks, and how to see it break again."""
    data = file.read_bytes()

    def checked(candidate: bytes) -> None:
        check(target, candidate)

    fault = fault_of(checked, data)
    if fault is None:
        say(f"  {len(data)} bytes were too slow, or took too much memory that Python does not count")
        say(f"  {replay_command(target, data)}")
        return
    shortest = minimised(checked, data)
    kind, place, line = fault
    say(f"  {kind.__name__} at {place}:{line}, by {len(shortest)} bytes: {shortest[:200]!r}")
    say(f"  {replay_command(target, shortest)}")


def check(target: Target, data: bytes) -> None:
    with held_memory(target, data):
        target.check(data)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is its output


if __name__ == "__main__":
    sys.exit(main())
