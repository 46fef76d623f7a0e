"""What `stopgap compare` says of pairs whose truth is known, against `ab_table.toml`, which was written before.

Legacy models and the candidates that are models run in sandboxes. It takes some minutes: `make test-ab` runs it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import stopgap
import tomllib
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from stopgap.cli.main import cli
from stopgap.client.npz import write_npz

from tests import zoo
from tests.comparison.candidates import BIASED, NOISY, PERMUTED, changed_model, with_wrong_rows

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("AB") != "all", reason="it takes minutes, type: make test-ab"),
]

TABLE: Final = tomllib.loads((Path(__file__).parent / "ab_table.toml").read_text(encoding="utf-8"))
MODELS: Final = {each["name"]: each["output"] for each in TABLE["models"]}
UNITS: Final = max(row["n"] for row in TABLE["rows"])
MODERN: Final = "tf-2.21.0"
LEGACY: Final = "tf-1.15.5"
BATCH: Final = 250
SHARES: Final = {"wrong_1": 0.01, "wrong_3": 0.03}
EXIT_CODES: Final = {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}

Arrays = Mapping[str, NDArray[Any]]


def images(drawn: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Coarse patterns of any brightness and contrast under fine noise, in [0, 1]; shape [UNITS, size, size, 3]."""
    coarse = drawn.random((UNITS, 2, 2, 3)).repeat(size // 2, axis=1).repeat(size // 2, axis=2)
    brightness, contrast = drawn.random((2, UNITS, 1, 1, 3))
    fine = drawn.normal(0, 0.05, (UNITS, size, size, 3))
    return np.asarray(np.clip(brightness + contrast * (coarse - 0.5) + fine, 0, 1), np.float64)


INPUTS: Final[Mapping[str, Callable[[np.random.Generator], Arrays]]] = {
    "slim_tiny_net_control": lambda drawn: {"images": images(drawn, 16).astype(np.float32)},
    "layers_mlp_norms_control": lambda drawn: {"image": (images(drawn, 10) * 255).astype(np.uint8)},
    "rff_kernel_svm_control": lambda drawn: {"x": drawn.standard_normal((UNITS, 5)).astype(np.float32)},
}


@dataclass(frozen=True)
class Scene:
    """One model's data, and what there is on either side.

    Attributes:
        candidates: By the table's names; the first of a pair is the legacy side that it is held against.
        order: Which of the permuted candidate's classes each of the legacy model's is.
    """

    model: zoo.ZooModel
    output: str
    folder: Path
    data: Path
    candidates: Mapping[str, tuple[Path, Path]]
    order: tuple[int, ...]


@pytest.fixture(scope="module", params=MODELS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    model, output = zoo.load(request.param), MODELS[request.param]
    folder = tmp_path_factory.mktemp(model.name)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STOPGAP_STATE", str(folder / "state"))
        inputs = INPUTS[model.name](np.random.default_rng(23))
        legacy = answers_of(model.folder, LEGACY, inputs, ["serving_default"])["serving_default"]
        changed = changed_model(model.folder, folder / "changed", output)
        recorded: dict[str, Arrays] = dict(answers_of(changed, MODERN, inputs, [NOISY, PERMUTED, BIASED]))
        for name, share in SHARES.items():
            recorded[name] = {**legacy, output: with_wrong_rows(legacy[output], share)}
        files = {name: written(folder / f"{name}.npz", outputs) for name, outputs in recorded.items()}
        against = written(folder / "legacy.npz", legacy)
        candidates = {"same": (model.folder, model.folder), **{name: (against, file) for name, file in files.items()}}
        classes = legacy[output].shape[1]
        order = tuple((number - 1) % classes for number in range(classes))
        yield Scene(model, output, folder, written(folder / "data.npz", inputs), candidates, order)


def answers_of(model: Path, bundle: str, inputs: Arrays, signatures: list[str]) -> dict[str, dict[str, Any]]:
    """What a model says in a sandbox, by signature."""
    with ExitStack() as opened:
        loaded = stopgap.load(model, bundle=bundle, engine="bubblewrap", show_progress=False)
        opened.callback(loaded.close)
        return {name: loaded.predict(inputs, signature=name, batch_size=BATCH) for name in signatures}


def written(file: Path, arrays: Arrays) -> Path:
    file.write_bytes(write_npz(arrays))
    return file


def compare(scene: Scene, candidate: str, *typed: object) -> Result:
    sides = map(str, scene.candidates[candidate])
    options = ["--data", str(scene.data), "--engine", "bubblewrap", "--json"]
    if candidate == "same":
        options += ["--legacy-bundle", LEGACY, "--candidate-bundle", MODERN]
    return CliRunner().invoke(cli, ["compare", *sides, *options, *map(str, typed)])


def plan_of(scene: Scene, row: Mapping[str, Any]) -> str:
    """The row as a plan: the tolerance is the zoo's own."""
    lines = [
        f'mode = "{row["mode"]}"',
        f"alpha = {TABLE['alpha']}",
        f"independent = {str(row.get('independent', True)).lower()}",
        f"atol = {scene.model.atol}",
        f"rtol = {scene.model.rtol}",
        "[[conditions]]",
        f'measure = "{row["measure"]}"',
        f'output = "{scene.output}"',
        *(f"{name} = {value}" for name, value in row.get("options", {}).items()),
    ]
    if "margin" in row:
        lines.append(f"margin = {row['margin']}")
    return "\n".join(lines) + "\n"


def found_map(scene: Scene, candidate: str) -> str:
    result = compare(scene, candidate, "--find-map")
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    assert found["orders"][scene.output]["classes"] == list(scene.order)
    return str(found["toml"])


@pytest.mark.parametrize(
    "row", TABLE["rows"], ids=lambda row: f"{row['candidate']}-{row['measure']}-{row.get('margin')}-{row['n']}"
)
def test_a_pair_whose_truth_is_known_gets_the_verdict_that_was_written_before(
    scene: Scene, row: Mapping[str, Any], tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(plan_of(scene, row) + (found_map(scene, row["candidate"]) if row.get("map") == "found" else ""))
    result = compare(scene, row["candidate"], "--plan", plan, "--most", row["n"])
    assert result.exit_code in EXIT_CODES.values(), result.exception
    found = json.loads(result.stdout)
    assert found["units"] == found["requests"] == row["n"]  # all of them distinct
    assert found["scope"] == ("beyond the file" if row.get("independent", True) else "file")
    told = [(each["name"], each["estimate"], each["lower"], each["upper"]) for each in found["conditions"]]
    assert found["outcome"] == row["expected"], f"{row['why']} But: {told}"
    assert result.exit_code == EXIT_CODES[row["expected"]]
