"""Who may import what. The tables are the architecture; the tests below them only hold the code against it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The three trees, and which of the others each may import. The host side and the inside of a sandbox meet in the wire
# contract alone. Nobody imports `stopgap_images`: to the host side it is data.
TREES = {
    "stopgap": ("orchestrator/stopgap", {"stopgap_protos"}),
    "stopgap_runtime": ("images/runtime/stopgap_runtime", {"stopgap_protos"}),
    "stopgap_protos": ("protos/stopgap_protos", set()),
}

# The floors of the orchestrator, top to bottom. A module imports from floors below its own, and from its own as long as
# nothing goes round in a circle.
FLOORS = {
    "the command line": {"cli"},
    "what tells of all": {"live", "metrics"},
    "what observes": {"observer"},
    "what asks two models": {"asking", "handover"},
    "what people import": {"api"},
    "what is wanted": {
        "audit",
        "deployment",
        "doctor",
        "extension",
        "observing",
        "recording",
        "recovery",
        "shadowing",
        "verification",
    },
    "what is there": {
        "background",
        "conditions",
        "fronts",
        "incidents",
        "kept_requests",
        "ledger",
        "ledgers",
        "legacy_requests",
        "observers",
        "readiness",
        "recordings",
        "shadows",
    },
    "what starts containers": {"engines"},
    "what they are made of": {
        "images",
        "image_context",
        "base_image",
        "roots",
        "ingredients",
        "bundles",
        "contents",
        "sbom",
    },
    "what they are told": {"front", "containment", "hand_overs", "records", "served_as", "store", "takeovers"},
    "what talks to them": {"client", "answering", "journal"},
    "one thing each": {
        "advisories",
        "bundle_rows",
        "comparison",
        "digests",
        "elf",
        "fingerprints",
        "forecast",
        "giving_way",
        "host_files",
        "image_store",
        "installed_packages",
        "interpreter",
        "isolations",
        "model_contents",
        "models",
        "overlay",
        "person",
        "ports",
        "processor",
        "quiet",
        "progress_bars",
        "report",
        "settings",
        "sources",
        "stages",
        "sunset",
        "two_means",
        "undo",
        "vex",
        "verdict",
        "wheels",
        "workshop",
    },
    "words": {"errors", "printable", "progress"},
}

# Foreign things, each known in as few places as can be: (what is imported, who may). The rest of the code is free.
FOREIGN = {
    "click": {"stopgap.cli"},
    "cyclonedx": {"stopgap.sbom"},
    "ctypes": {"stopgap.engines.libseccomp", "stopgap.giving_way", "stopgap_runtime.capi", "stopgap_runtime.kernel"},
    "docker": {"stopgap.engines.docker"},
    "elftools": {"stopgap.elf"},
    "filelock": {"stopgap.bundles", "stopgap.store", "stopgap.workshop"},
    "grpc": {"stopgap.client", "stopgap.answering", "stopgap.ledger.receiver"},
    "h11": {"stopgap.observer.connection"},
    "httptools": {"stopgap_runtime.http11"},
    "PIL": {"stopgap.report.pictures"},
    "jinja2": {"stopgap.report.templates"},
    "markupsafe": {"stopgap.live", "stopgap.report"},
    "matplotlib": {"stopgap.report.charts", "stopgap.report.drawing"},
    "orjson": {"stopgap_runtime.json_document"},
    "packageurl": {"stopgap.sbom"},
    "prometheus_client": {"stopgap.metrics"},
    "platformdirs": {
        "stopgap.bundles",
        "stopgap.doctor.machine",
        "stopgap.images",
        "stopgap.interpreter",
        "stopgap.roots",
        "stopgap.settings",
    },
    "requests": {"stopgap.engines.docker"},
    "rich": {"stopgap.cli", "stopgap.progress_bars"},
    "stopgap_images": set(),
    "keras": {"stopgap.api.keras_layer"},
    "tensorflow": {"stopgap.api.tf_calls"},
    "tensorflow_serving": set(),
    "zipfile": {"stopgap.asking.data.npz_rows", "stopgap.bundles", "stopgap.client.npz"},
}


@dataclass(frozen=True)
class Import:
    """One import: the module it stands in, the module it names, and where."""

    importer: str
    imported: str
    place: str


def modules() -> dict[str, Path]:
    """Every module of the three trees by its dotted name; a package goes by its own."""
    found = {}
    for tree, (folder, _) in TREES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([tree, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = modules()


def imports_of(module: str) -> Iterator[Import]:
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for imported in named_in(node, package):
            yield Import(module, imported, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")


def named_in(node: ast.AST, package: str) -> list[str]:
    """The modules that an import statement names, in full; `from package import module` names the module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    origin = ".".join([*above, *([node.module] if node.module else [])])
    candidates = [f"{origin}.{alias.name}" for alias in node.names]
    return [candidate if candidate in MODULES else origin for candidate in candidates]


IMPORTS = [found for module in MODULES for found in imports_of(module)]


def within(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def floor_of(module: str) -> int:
    """Counted from the top; `stopgap` itself, the package that people import, is on the second."""
    first = module.split(".")[1] if "." in module else "api"
    return next(number for number, names in enumerate(FLOORS.values()) if first in names)


def places(wrong: Iterable[Import]) -> list[str]:
    return [f"{found.place}: {found.importer} imports {found.imported}" for found in wrong]


def test_all_three_trees_are_looked_at() -> None:
    assert {module.partition(".")[0] for module in MODULES} == set(TREES)
    assert len(IMPORTS) > 100


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_imports_only_the_trees_that_it_may(tree: str) -> None:
    allowed = {tree, *TREES[tree][1]}
    wrong = [
        found
        for found in IMPORTS
        if within(found.importer, [tree]) and within(found.imported, TREES) and not within(found.imported, allowed)
    ]
    assert places(wrong) == []


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_foreign_thing_is_known_only_where_the_table_says(foreign: str) -> None:
    wrong = [
        found for found in IMPORTS if within(found.imported, [foreign]) and not within(found.importer, FOREIGN[foreign])
    ]
    assert places(wrong) == []


def test_every_module_of_the_orchestrator_has_its_floor() -> None:
    known = set().union(*FLOORS.values())
    firsts = {module.split(".")[1] for module in MODULES if module.startswith("stopgap.")}
    assert sorted(firsts - known) == [], "put it on a floor of FLOORS"


def test_the_orchestrator_imports_downwards() -> None:
    wrong = [
        found
        for found in IMPORTS
        if within(found.importer, ["stopgap"])
        and within(found.imported, ["stopgap"])
        and floor_of(found.imported) < floor_of(found.importer)
    ]
    assert places(wrong) == []


@pytest.mark.parametrize("tree", TREES)
def test_nothing_goes_round_in_a_circle(tree: str) -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES if within(module, [tree])}
    for found in IMPORTS:
        if found.importer in graph and found.imported in graph and found.imported != found.importer:
            graph[found.importer].add(found.imported)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_client_knows_nothing_of_deployments() -> None:
    below = {"stopgap.client", "stopgap.errors", "stopgap.printable", "stopgap.progress", "stopgap.settings"}
    wrong = [
        found
        for found in IMPORTS
        if within(found.importer, ["stopgap.client"])
        and within(found.imported, ["stopgap"])
        and not within(found.imported, below)
    ]
    assert places(wrong) == []
