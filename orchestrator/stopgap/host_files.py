"""What of the host's own files runs in bubblewrap's containers: found by running the same programs, not by guessing.

A container there sees all of the host's /usr, so what is installed is no answer. What a runtime has mapped and imported
once TensorFlow is loaded, and what the loader maps for Envoy, is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from stopgap.digests import sha256_of
from stopgap.errors import ImageError
from stopgap.interpreter import Interpreter

__all__ = ["digests", "used"]

TIMEOUT_S = 60.0

QUESTION = """
import importlib, json, os, pathlib, pkgutil, sys
app, bundle = sys.argv[1:]
sys.path.insert(0, app)
import stopgap_runtime
for found in pkgutil.iter_modules(stopgap_runtime.__path__):
    if found.name != "__main__":
        importlib.import_module("stopgap_runtime." + found.name)
from stopgap_runtime.capi import TensorFlow
TensorFlow.load(pathlib.Path(bundle))
specs = [module.__spec__ for module in list(sys.modules.values()) if getattr(module, "__spec__", None)]
modules = {path for spec in specs for path in (spec.origin, spec.cached) if path}
with open("/proc/self/maps") as maps:
    mapped = {fields[5] for fields in (line.rstrip("\\n").split(maxsplit=5) for line in maps) if len(fields) == 6}
print(json.dumps(sorted(path for path in modules | mapped if path.startswith("/"))))
"""


def used(root: Path, python: Callable[[], Interpreter]) -> tuple[Path, ...]:
    """The files outside of `root` that are used by what runs in a container that is made of it, before any model.

    Args:
        root: As `roots.ensure` lays it out.
        python: Gives what runs a sandbox's runtime; for a front it is not asked.

    Raises:
        ImageError: It does not run.
    """
    return used_by_envoy(root) if (root / "envoy").is_file() else used_by_runtime(root, python())


def used_by_runtime(root: Path, python: Interpreter) -> tuple[Path, ...]:
    words = [str(python.executable), "-I", "-c", QUESTION, str(root / "app"), str(root / "bundle")]
    return outside(root, json.loads(answer(words, {})))


def used_by_envoy(root: Path) -> tuple[Path, ...]:
    said = answer([str(root / "envoy")], {"LD_TRACE_LOADED_OBJECTS": "1"})
    return outside(root, re.findall(r"(/\S+) \(0x", said))


def digests(files: Iterable[Path | str]) -> dict[str, str]:
    """Of those that are there, by their paths."""
    return {os.fspath(path): sha256_of(Path(path)) for path in files if Path(path).is_file()}


def outside(root: Path, paths: Iterable[str]) -> tuple[Path, ...]:
    """Without links, once each."""
    found = {Path(path).resolve() for path in paths}
    return tuple(sorted(path for path in found if path.is_file() and root.resolve() not in path.parents))


def answer(words: list[str], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={"PATH": os.defpath, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{words[0]} does not say what it uses: {error}") from error
    if done.returncode != 0:
        last = "".join(done.stderr.strip().splitlines()[-1:])
        raise ImageError(f"{words[0]} does not say what it uses (exit code {done.returncode}): {last}")
    return done.stdout
