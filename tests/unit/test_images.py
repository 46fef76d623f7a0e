"""Images: what decides their tags, which base is taken, and the real ones, built by the real engine and run."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from stopgap import base_image, bundles, image_context, images
from stopgap.bundle_rows import default_row
from stopgap.bundles import Bundle
from stopgap.engines.docker import DockerEngine, connect
from stopgap.errors import ImageError
from stopgap.progress import silent
from stopgap.sources import images_folder

KINDS = ("legacy", "modern", "front")
A_BUNDLE = Bundle("tf-1.15.5", "1.15.5", Path("/nowhere"), digest="0" * 64)


class Shelf:
    """An engine that has some images, and whose registry never answers; what it is asked to build, it then has."""

    def __init__(self, *tags: str) -> None:
        self.tags = set(tags)
        self.asked_registry = False

    def has_image(self, tag: str) -> bool:
        return tag in self.tags

    def build_image(self, context: Path, tag: str, labels: Mapping[str, str]) -> None:
        assert (context / "Dockerfile").is_file()
        assert labels["stopgap.image"]
        self.tags.add(tag)

    def import_image(self, tar: Path, tag: str) -> None:
        assert tar.is_file()
        self.tags.add(tag)

    def drop_images(self, labels: Mapping[str, str], keep: str, older_than_s: float) -> None:
        assert older_than_s >= 24 * 3600
        kind = labels["stopgap.image"]
        self.tags = {tag for tag in self.tags if tag == keep or not tag.startswith(f"stopgap/{kind}:")}

    def pull_image(self, reference: str) -> bool:
        assert "@sha256:" in reference
        self.asked_registry = True
        return False


def never(said: str) -> None:
    pytest.fail(f"it said: {said}")


# What decides a tag.


def test_a_tag_is_the_digest_of_what_goes_in() -> None:
    tags = {
        images.tag(kind, base, bundle)
        for kind in ("legacy", "modern")
        for base in base_image.CHOICES
        for bundle in (A_BUNDLE, dataclasses.replace(A_BUNDLE, digest="1" * 64))
    }
    assert len(tags) == 8
    assert all(re.fullmatch(r"stopgap/(legacy|modern):[0-9a-f]{12}", tag) for tag in tags)
    assert images.tag("legacy", base_image.DEBIAN, A_BUNDLE) in tags


def test_the_code_the_contract_and_the_lock_go_into_a_tag() -> None:
    inputs = image_context.inputs("legacy")
    wanted = {
        "legacy/Dockerfile",
        "runtime/__main__.py",
        "runtime/requirements.txt",
        "runtime/stopgap_runtime/__main__.py",
        "stopgap_protos/serving_pb2.py",
        "image_context.py",
    }
    assert wanted < set(inputs)
    assert not [name for name in inputs if "__pycache__" in name]


def test_the_front_is_built_again_for_nothing_but_its_own() -> None:
    ours = {"front/Dockerfile", "front/requirements.txt", "image_context.py", "ingredients.py"}
    assert set(image_context.inputs("front")) == ours


@pytest.mark.parametrize("base", base_image.CHOICES, ids=lambda base: base.name)
def test_an_image_that_is_there_is_taken_whichever_base_it_has(base: base_image.BaseImage, tmp_path: Path) -> None:
    wanted = images.tag("legacy", base, A_BUNDLE)
    shelf = Shelf(wanted)
    assert images.ensure("legacy", shelf, A_BUNDLE, never, cache=tmp_path) == wanted
    assert not shelf.asked_registry
    assert list(tmp_path.iterdir()) == []


# Which base is taken.


@pytest.mark.parametrize("base", base_image.CHOICES, ids=lambda base: base.name)
def test_a_base_that_is_there_is_taken_and_no_registry_is_asked(base: base_image.BaseImage, tmp_path: Path) -> None:
    shelf = Shelf(base.tag)
    assert base_image.ensure(shelf, tmp_path, never, silent) == base
    assert not shelf.asked_registry


def test_without_registry_and_mmdebstrap_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with pytest.raises(ImageError, match="mmdebstrap") as raised:
        images.ensure("legacy", Shelf(), A_BUNDLE, said.append, cache=tmp_path / "cache")
    assert "apt-get install mmdebstrap" in raised.value.remedy
    assert "no registry" in said[0]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".images.lock"]


def test_the_machines_own_mirror_is_used_where_it_is_of_the_same_suite(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    sources = tmp_path / "apt" / "sources.list.d" / "debian.sources"
    sources.parent.mkdir(parents=True)
    sources.write_text("Types: deb\n")
    assert base_image.debian_sources(tmp_path) == []
    release.write_text("ID=ubuntu\nVERSION_CODENAME=noble\n")
    assert base_image.debian_sources(tmp_path) == []
    release.write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    assert base_image.debian_sources(tmp_path) == [str(sources)]


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("a file where the folder should be")
    with pytest.raises(ImageError, match="cannot be prepared"):
        images.ensure("legacy", Shelf(), A_BUNDLE, never, cache=cache)


def test_a_runtime_image_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="needs a bundle"):
        images.ensure("legacy", Shelf(base_image.DEBIAN.tag), None, lambda _: None, cache=tmp_path)


# The sources of the images.


@pytest.mark.parametrize("kind", ["base", *KINDS])
def test_a_dockerfile_needs_neither_a_shell_nor_a_network(kind: str) -> None:
    lines = (images_folder() / kind / "Dockerfile").read_text().splitlines()
    commands = [line for line in lines if line.startswith(("RUN", "CMD", "ENTRYPOINT"))]
    assert all(line.partition(" ")[2].startswith("[") for line in commands)
    assert not [line for line in lines if line.startswith("ADD")]


@pytest.mark.parametrize("kind", ["runtime", "front"])
def test_an_image_lock_pins_every_package_by_hash_and_names_no_place(kind: str) -> None:
    text = (images_folder() / kind / "requirements.txt").read_text()
    entries = re.findall(r"^(\S+==\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, flags=re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\w", text, flags=re.MULTILINE)) >= 1
    assert not re.search(r"https?:|--index|--find-links| /", text)


# The real ones.


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run(tag: str, *arguments: str, entrypoint: str | None = None) -> str:
    """What a container of that image prints, contained nearly as a sandbox is."""
    replaced = ["--entrypoint", entrypoint] if entrypoint else []
    walls = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    return docker("run", "--rm", *walls, *replaced, tag, *arguments)


@pytest.fixture(scope="module")
def engine() -> DockerEngine:
    return connect()


@pytest.fixture(scope="module")
def legacy(engine: DockerEngine) -> str:
    return images.ensure("legacy", engine, bundles.ensure(default_row("legacy").name), lambda _: None)


@pytest.fixture(scope="module")
def front(engine: DockerEngine) -> str:
    return images.ensure("front", engine, None, lambda _: None)


INSIDE = """
import asyncio, ctypes, hashlib, json, mmap, os, socket, ssl, sys
sys.path.insert(0, "/opt/stopgap/app")
import httptools, numpy, numpy.random
from google.protobuf.internal import api_implementation
from stopgap_protos import serving_pb2
import stopgap_runtime.settings
ours = [module.__spec__ for module in list(sys.modules.values()) if getattr(module, "__spec__", None)]
python = [spec for spec in ours if spec.origin and spec.origin.endswith(".py")]
print(json.dumps({
    "uid": os.getuid(),
    "protobuf": api_implementation.Type(),
    "product": float(numpy.linalg.det(numpy.eye(3) * 2)),
    "compiled at every start": [spec.name for spec in python if not os.path.exists(spec.cached)],
    "shells": [shell for shell in ("/bin/sh", "/bin/bash", "/bin/dash") if os.path.exists(shell)],
    "bundle": sorted(os.listdir("/opt/stopgap/bundle")),
}))
"""


@pytest.mark.docker
def test_the_legacy_image_has_all_that_the_server_imports_and_is_compiled(legacy: str) -> None:
    found = json.loads(run(legacy, "-I", "-c", INSIDE, entrypoint="python3.11"))
    assert found["uid"] == 65534
    assert found["protobuf"] == "upb"
    assert found["product"] == pytest.approx(8.0)
    assert found["compiled at every start"] == []
    assert found["bundle"] == ["bundle.json", "lib", "op_libraries.json", "ops.pb"]
    if docker("image", "inspect", legacy, "--format", '{{index .Config.Labels "stopgap.base"}}') == "debian":
        assert found["shells"] == []


@pytest.mark.docker
def test_the_legacy_image_stays_under_its_limit(legacy: str) -> None:
    assert int(docker("image", "inspect", legacy, "--format", "{{.Size}}")) <= 430e6


@pytest.mark.docker
def test_the_front_image_is_envoy_and_little_else(front: str) -> None:
    assert "/1.40.0/" in run(front, "--version")
    assert int(docker("image", "inspect", front, "--format", "{{.Size}}")) <= 115e6


@pytest.mark.docker
def test_an_image_that_is_there_is_not_built_again(engine: DockerEngine, legacy: str, tmp_path: Path) -> None:
    bundle = bundles.ensure(default_row("legacy").name)
    assert images.ensure("legacy", engine, bundle, never, cache=tmp_path) == legacy


@pytest.mark.docker
@pytest.mark.usefixtures("legacy", "front")
def test_building_leaves_no_nameless_images() -> None:
    assert docker("images", "--quiet", "--filter", "dangling=true", "--filter", "label=stopgap.image") == ""
