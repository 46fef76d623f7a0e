"""Nothing that stopgap needs asks for a version of what others need: as its metadata says, and all below it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distribution
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

# What TensorFlow, and half of the world, needs too; and the oldest of each that must do.
SHARED: Final = {"grpcio": "1.48.1", "numpy": "1.21.0", "protobuf": "3.20.2"}
# Not pure Python where it has a faster wheel for the machine; it has one for any.
FASTER_WHERE_IT_CAN: Final = {"charset-normalizer"}


def requirements_of(name: str, extra: str = "") -> list[Requirement]:
    """What an installed distribution needs on this Python."""
    needed = map(Requirement, distribution(name).requires or ())
    return [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]


def needed_below(name: str, seen: set[str]) -> Iterator[str]:
    """Every distribution that this one needs, and those that they need, once each; not what is below a shared one."""
    for requirement in requirements_of(name):
        needed = canonicalize_name(requirement.name)
        if needed not in seen | SHARED.keys():
            seen.add(needed)
            yield needed
            yield from needed_below(needed, seen)


OTHERS: Final = sorted(needed_below("stopgap", set()))


@pytest.mark.parametrize("name", SHARED)
def test_what_others_need_too_comes_in_a_wide_range(name: str) -> None:
    (range_,) = (one.specifier for one in requirements_of("stopgap") if one.name == name)
    assert {clause.operator for clause in range_} == {">="}, "no upper bound"
    assert range_.contains(Version(SHARED[name]))


def test_every_other_dependency_is_looked_at() -> None:
    assert {"click", "docker", "filelock", "platformdirs", "pyelftools", "rich"} <= set(OTHERS)


@pytest.mark.parametrize("name", OTHERS)
def test_no_other_dependency_asks_for_a_version_of_them(name: str) -> None:
    asked = {canonicalize_name(one.name) for one in requirements_of(name)}
    assert not asked & SHARED.keys()


@pytest.mark.parametrize("name", sorted(set(OTHERS) - FASTER_WHERE_IT_CAN))
def test_every_other_dependency_is_pure_python(name: str) -> None:
    assert "Root-Is-Purelib: true" in (distribution(name).read_text("WHEEL") or "")


def test_the_extra_brings_tensorflow_and_its_serving_api_in_any_version_that_has_keras_3() -> None:
    extra = {one.name: str(one.specifier) for one in requirements_of("stopgap", "tf") if one.marker}
    assert {name: extra.get(name) for name in ("tensorflow", "tensorflow-serving-api")} == {
        "tensorflow": ">=2.16",
        "tensorflow-serving-api": ">=2.16",
    }


def test_what_draws_reports_comes_only_to_who_asks_for_it() -> None:
    """Matplotlib asks for versions of NumPy; beside a TensorFlow 2 of any age nobody is to have it changed."""
    extra = {one.name: str(one.specifier) for one in requirements_of("stopgap", "report") if one.marker}
    wanted = {"jinja2": ">=3.0", "matplotlib": ">=3.6"}
    assert {name: extra.get(name) for name in wanted} == wanted
    assert not wanted.keys() & set(OTHERS)


def test_the_extra_for_bills_of_materials_asks_for_none_of_the_shared_ones_either() -> None:
    (wanted,) = (one.name for one in requirements_of("stopgap", "sbom") if one.marker and "extra" in str(one.marker))
    below = {wanted, *needed_below(wanted, set())}
    assert "packageurl-python" in below
    for name in below:
        assert not {canonicalize_name(one.name) for one in requirements_of(name)} & SHARED.keys()
