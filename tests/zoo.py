"""The zoo's cases, for every test that shows a model answering: folders, requests in order, and what is expected.

See tests/data/zoo/README.md for the files' form.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from stopgap.processor import cpu_flags

__all__ = [
    "CONTROLS",
    "NAMES",
    "WITH_HOSTILE_CASES",
    "ZOO",
    "Arrays",
    "Case",
    "ExpectedError",
    "ZooModel",
    "answer_of",
    "assert_matches",
    "hostile_cases",
    "load",
]

ZOO: Final = Path(__file__).parent / "data" / "zoo"
NAMES: Final = tuple(sorted(path.parent.name for path in ZOO.glob("*/model.json")))
WITH_HOSTILE_CASES: Final = tuple(sorted(path.parent.name for path in ZOO.glob("*/hostile.npz")))
CONTROLS: Final = tuple(name for name in NAMES if name.endswith("_control"))
# TensorFlow 1.15.5's own gRPC now and then never ends a TryRpc: one in hundreds, whatever it is asked through.
_MAY_STAY_SILENT: Final = frozenset({"rpc_try_call"})
_ASKED_AGAIN: Final = 4
_REPLACED_WITHIN_S: Final = 2.0
# TensorFlow 1.15's library chooses its matrix kernels by the processor. Where there is no AVX-512, this decoder's many
# steps end up to 2.8e-4 from what was recorded (an AMD EPYC with AVX2, the library alone, no sandbox); others agree.
_WITHOUT_AVX512: Final = {"nmt_luong_beam_search": 5e-4}
_OF_RANDOM_LENGTH: Final = frozenset({"skip_gram_subsample_stochastic"})

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ExpectedError:
    """How TensorFlow refuses a bad request.

    Attributes:
        code: gRPC's and TensorFlow's number.
        made_in: The class of TensorFlow's error; "ValueError(feed check in the Python client)" where its C++ never saw
            the request, so that the runtime's own validation has to refuse it.
    """

    code: int
    made_in: str
    message: str

    @property
    def is_feed_check(self) -> bool:
        """Whether TensorFlow's C++ would not have noticed."""
        return "feed check" in self.made_in


@dataclass(frozen=True)
class Case:
    """One request: arrays by alias, strings as arrays of `bytes` objects; `outputs` is empty where an error is due."""

    name: str
    signature: str
    inputs: Arrays
    outputs: Arrays
    error: ExpectedError | None


@dataclass(frozen=True)
class ZooModel:
    """One model and its cases, to be asked in this order."""

    name: str
    cases: tuple[Case, ...]
    atol: float
    rtol: float
    servable: bool
    stateful: bool
    random_outputs: frozenset[str] | None  # None: all of them

    @property
    def folder(self) -> Path:
        """The folder of its only version."""
        return ZOO / self.name / "1"

    def is_random(self, output: str) -> bool:
        """Whether an output differs from run to run."""
        return self.random_outputs is None or output in self.random_outputs


def load(name: str) -> ZooModel:
    """Reads a model's cases."""
    described = json.loads((ZOO / name / "model.json").read_text())
    with np.load(ZOO / name / "golden.npz") as golden:
        cases = tuple(_case(case, golden) for case in described["cases"])
    deterministic_but = frozenset(described.get("nondeterministic_outputs", ()))
    return ZooModel(
        name=name,
        cases=cases,
        atol=described["atol"] if "avx512f" in (cpu_flags() or ()) else _WITHOUT_AVX512.get(name, described["atol"]),
        rtol=described["rtol"],
        servable=described.get("servable", True),
        stateful=described["stateful"],
        random_outputs=deterministic_but if described["deterministic"] or deterministic_but else None,
    )


def hostile_cases(name: str) -> tuple[Case, ...]:
    """Requests that end a bare TensorFlow 1.15, made from a model's good ones: `<good case>~<what was done to it>`."""
    signatures = {case.name: case.signature for case in load(name).cases}
    with np.load(ZOO / name / "hostile.npz") as stored:
        names = sorted({key.partition(".in.")[0] for key in stored})
        return tuple(
            Case(case, signatures[case.partition("~")[0]], _arrays(stored, f"{case}.in."), outputs={}, error=None)
            for case in names
        )


def assert_matches(model: ZooModel, case: Case, outputs: Arrays) -> None:
    """Compares a whole answer: names, dtypes, and values within the model's tolerance.

    Of a random output the dtype and the shape count; of a random share of something, its rank.
    """
    assert sorted(outputs) == sorted(case.outputs), f"{model.name}/{case.name}: other outputs"
    for alias, expected in case.outputs.items():
        where = f"{model.name}/{case.name}/{alias}"
        actual = outputs[alias]
        assert actual.dtype == expected.dtype, f"{where}: {actual.dtype}, expected {expected.dtype}"
        if model.is_random(alias):
            assert actual.ndim == expected.ndim, where
            assert actual.shape == expected.shape or model.name in _OF_RANDOM_LENGTH, where
            continue
        assert actual.shape == expected.shape, f"{where}: {actual.shape}, expected {expected.shape}"
        if expected.dtype == object:
            assert actual.tolist() == expected.tolist(), where
        else:
            np.testing.assert_allclose(actual, expected, atol=model.atol, rtol=model.rtol, err_msg=where)


def answer_of(model: ZooModel, ask: Callable[[], Arrays], silence: tuple[type[Exception], ...]) -> Arrays:
    """What `ask` gives, asked again where the model may stay silent: its worker is replaced then, for which we wait."""
    for _ in range(_ASKED_AGAIN if model.name in _MAY_STAY_SILENT else 0):
        with contextlib.suppress(*silence):
            return ask()
        time.sleep(_REPLACED_WITHIN_S)
    return ask()


def _case(described: Mapping[str, Any], golden: Mapping[str, NDArray[Any]]) -> Case:
    name = described["name"]
    error = described.get("error")
    return Case(
        name=name,
        signature=described["signature"],
        inputs=_arrays(golden, f"{name}.in."),
        outputs=_arrays(golden, f"{name}.out."),
        error=ExpectedError(error["code"], error["class"], error["message"]) if error else None,
    )


def _arrays(golden: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    keys = [key for key in golden if key.startswith(prefix) and not key.endswith("@len")]
    return {key[len(prefix) :]: _strings(golden, key) if golden[key].dtype.kind == "S" else golden[key] for key in keys}


def _strings(golden: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    """An `S` array as one of `bytes`; NumPy drops the NUL bytes at their ends, so those have their lengths noted."""
    stored = golden[key]
    texts = stored.ravel().tolist()
    if f"{key}@len" in golden:
        lengths = golden[f"{key}@len"].ravel().tolist()
        texts = [text.ljust(length, b"\0") for text, length in zip(texts, lengths)]
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(stored.shape)
