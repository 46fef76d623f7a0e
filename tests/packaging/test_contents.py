"""The wheel and the sdist hold every file of the three trees, and nothing else that lies about in a checkout."""

from __future__ import annotations

from typing import Final

from stopgap import image_context

from tests.packaging.distributions import ROOT, Distributions

TREES: Final = {
    "stopgap": "orchestrator/stopgap",
    "stopgap_protos": "protos/stopgap_protos",
    "stopgap_images": "images",
}
SDISTS_OWN: Final = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}


def files_of(tree: str, under: str) -> set[str]:
    """A tree's files, with their names below another folder."""
    files = (path for path in (ROOT / tree).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{under}/{path.relative_to(ROOT / tree).as_posix()}" for path in files}


def test_the_wheel_has_every_file_of_the_three_trees_and_no_other(distributions: Distributions) -> None:
    packages = {name for name in distributions.in_wheel() if ".dist-info/" not in name}
    assert packages == set().union(*(files_of(tree, package) for package, tree in TREES.items()))


def test_the_sdist_has_the_same_and_what_builds_a_wheel_from_it(distributions: Distributions) -> None:
    sources = {name for name in distributions.in_sdist() if not name.startswith("stopgap.egg-info/")}
    assert sources == set().union(*(files_of(tree, tree) for tree in TREES.values())) | SDISTS_OWN


def test_the_wheel_has_what_sandboxes_and_fronts_are_made_of(distributions: Distributions) -> None:
    """The tag of an image is the digest of these files: what is installed shares its images with a checkout."""
    wheel = distributions.in_wheel()
    for kind in ("base", "front", "legacy", "modern"):
        assert f"stopgap_images/{kind}/Dockerfile" in wheel
    for kind in ("front", "legacy", "modern"):
        for name in set(image_context.inputs(kind)) - {"ingredients.py", "image_context.py"}:
            assert name in wheel or f"stopgap_images/{name}" in wheel
