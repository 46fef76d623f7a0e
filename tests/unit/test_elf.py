"""Real libraries are weakened and shrunk: an extension module, which needs many symbols of Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import httptools.parser.parser
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from stopgap import elf
from stopgap.errors import BundleError


@pytest.fixture
def library(tmp_path: Path) -> Path:
    original = Path(httptools.parser.parser.__file__)
    return Path(shutil.copy(original, tmp_path / original.name))


def bindings(library: Path) -> dict[str, str]:
    """The undefined symbols of a library and how strictly they are wanted."""
    with library.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        undefined = [symbol for symbol in table.iter_symbols() if symbol["st_shndx"] == "SHN_UNDEF"]
        return {symbol.name: symbol["st_info"]["bind"] for symbol in undefined}


def loads_without_python(library: Path) -> bool:
    """Whether a program that provides no symbol of Python can dlopen it."""
    done = subprocess.run(
        ["/bin/true"], env={"LD_PRELOAD": str(library), "LD_BIND_NOW": "1"}, capture_output=True, check=False
    )
    return done.returncode == 0 and not done.stderr


def test_weakening_touches_python_symbols_and_no_others(library: Path) -> None:
    before = bindings(library)
    count = elf.weaken(library)
    after = bindings(library)

    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if name.startswith(("Py", "_Py")) and before[name] == "STB_GLOBAL"}
    assert {after[name] for name in changed} == {"STB_WEAK"}
    assert count == len(changed) > 50


def test_weakening_twice_finds_nothing_left(library: Path) -> None:
    elf.weaken(library)
    assert elf.weaken(library) == 0


def test_a_weakened_and_shrunk_library_loads_where_there_is_no_python(library: Path) -> None:
    assert not loads_without_python(library)
    elf.weaken(library)
    elf.shrink(library)
    assert loads_without_python(library)


def test_a_weakened_and_shrunk_library_still_works_where_there_is_python(library: Path) -> None:
    size = library.stat().st_size
    elf.weaken(library)
    saved = elf.shrink(library)
    assert 0 < saved == size - library.stat().st_size

    program = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('httptools.parser.parser', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "class Request:\n"
        "    def on_url(self, url): self.url = url\n"
        "request = Request()\n"
        "module.HttpRequestParser(request).feed_data(b'GET /path HTTP/1.1\\r\\n\\r\\n')\n"
        "assert request.url == b'/path'\n"
    )
    subprocess.run([sys.executable, "-c", program, str(library)], check=True)


def test_shrinking_twice_saves_nothing_more(library: Path) -> None:
    elf.shrink(library)
    assert elf.shrink(library) == 0


def test_weakening_after_shrinking_is_refused(library: Path) -> None:
    elf.shrink(library)
    with pytest.raises(BundleError, match="no table of dynamic symbols"):
        elf.weaken(library)


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "libnothing.so"
    text.write_text("not a library")
    with pytest.raises(BundleError, match="not a shared library"):
        elf.weaken(text)
    with pytest.raises(BundleError, match="not a shared library"):
        elf.shrink(text)


def test_a_32_bit_library_is_refused(library: Path) -> None:
    content = bytearray(library.read_bytes())
    content[4] = 1  # EI_CLASS: ELFCLASS32
    library.write_bytes(content)
    with pytest.raises(BundleError):
        elf.weaken(library)
