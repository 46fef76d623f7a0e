"""Wrong kinds of arguments are told by the argument's name, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stopgap
from stopgap.api.arguments import paths, words


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("", {}, "has no name"),
        (7, {}, "What is loaded must be a folder, a name or an address, not 7."),
        ("./model", {"workers": 1.5}, "workers must be a whole number, not 1.5."),
        ("./model", {"workers": True}, "workers must be a whole number, not True."),
        ("./model", {"memory_mib": "4G"}, "memory_mib must be a whole number of MiB, not '4G'."),
        ("./model", {"timeout_s": "soon"}, "timeout_s must be a number of seconds, or None, not 'soon'."),
        ("./model", {"tags": 3}, "tags must be a word or several words, not 3."),
        ("./model", {"tags": ["serve", 3]}, "tags must be a word or several words, not 3."),
        ("./model", {"op_libraries": 3}, "op_libraries must be a path or several paths, not 3."),
        ("./model", {"signatures": 3}, "signatures must be a TOML file or a mapping of the same form, not 3."),
        ("./model", {"name": b"m"}, "name must be a model's name, not b'm'."),
        ("./model", {"bundle": None}, "bundle must be a bundle's name, not None."),
        ("./model", {"engine": 1}, "engine must be an engine's name, not 1."),
        ("host:8500/m", {"workers": 2}, "host:8500/m is served already, so workers cannot be chosen."),
        ("host:8500/m", {"tags": "gpu", "engine": "docker"}, "so tags and engine cannot be chosen."),
    ],
)
def test_wrong_arguments_of_load(
    target: Any, options: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STOPGAP_STATE", str(tmp_path))
    with pytest.raises(stopgap.DeploymentError) as raised:
        stopgap.load(target, **options)
    assert told in raised.value.problem


def test_one_word_or_path_is_one_and_not_its_letters() -> None:
    assert words("tags", "serve") == ("serve",)
    assert words("tags", ["serve", "gpu"]) == ("serve", "gpu")
    assert paths("op_libraries", "/ops/a.so") == ("/ops/a.so",)
    assert paths("op_libraries", [Path("/ops/a.so"), "b.so"]) == ("/ops/a.so", str(Path("b.so").absolute()))
