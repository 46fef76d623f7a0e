"""Makes TensorFlow's shared libraries loadable outside their Python, and small; knows ELF, not TensorFlow.

Both operations change a file in place. Weaken first: shrinking removes the section table that weakening reads.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from stopgap.errors import BundleError

__all__ = ["shrink", "weaken"]

# Elf64_Sym: st_name, st_info, st_other, st_shndx, st_value, st_size.
_SYMBOL = struct.Struct("<IBBHQQ")
_ST_INFO_OFFSET = 4
_STB_GLOBAL = 1
_STB_WEAK = 2
_SHN_UNDEF = 0

# Elf64_Ehdr: where the section table is, and its entries' size, their number, and which of them holds the names.
_E_SHOFF = (40, 8)
_E_SHENTSIZE_TO_E_SHSTRNDX = (58, 6)


def weaken(library: Path, prefixes: tuple[str, ...] = ("Py", "_Py")) -> int:
    """Lets a library load where the symbols of these names are missing; returns how many were weakened.

    An undefined GLOBAL symbol that nothing provides makes dlopen fail; an undefined WEAK one is a null pointer that
    nobody calls, since the C API does not go through Python.

    Raises:
        BundleError: The file is not a 64-bit little-endian ELF library with a section table.
    """
    wanted = tuple(prefix.encode() for prefix in prefixes)
    with library.open("r+b") as stream:
        elf = _open(stream, library)
        table = elf.get_section_by_name(".dynsym")
        if table is None:
            raise BundleError(f"{library.name} has no table of dynamic symbols: it was stripped or shrunk before.")
        # The whole tables at once: walking them symbol by symbol takes pyelftools seconds.
        symbols = table.data()
        names = elf.get_section(table["sh_link"]).data()
        weakened = 0
        for index, (name, info, _, section, _, _) in enumerate(_SYMBOL.iter_unpack(symbols)):
            if section == _SHN_UNDEF and info >> 4 == _STB_GLOBAL and names.startswith(wanted, name):
                stream.seek(table["sh_offset"] + index * _SYMBOL.size + _ST_INFO_OFFSET)
                stream.write(bytes([_STB_WEAK << 4 | info & 0xF]))
                weakened += 1
    return weakened


def shrink(library: Path) -> int:
    """Cuts off what only linkers and debuggers read, behind the last segment; returns the bytes saved.

    Raises:
        BundleError: The file is not a 64-bit little-endian ELF library.
    """
    with library.open("r+b") as stream:
        elf = _open(stream, library)
        end: int = elf["e_phoff"] + elf["e_phnum"] * elf["e_phentsize"]
        for segment in elf.iter_segments():
            end = max(end, segment["p_offset"] + segment["p_filesz"])
        for offset, length in (_E_SHOFF, _E_SHENTSIZE_TO_E_SHSTRNDX):
            stream.seek(offset)
            stream.write(bytes(length))
        before = stream.seek(0, 2)
        stream.truncate(end)
    return before - end


def _open(stream: BinaryIO, library: Path) -> ELFFile:
    try:
        elf = ELFFile(stream)
    except ELFError as error:
        raise BundleError(f"{library.name} is not a shared library: {error}") from error
    if elf.elfclass != 64 or not elf.little_endian:
        raise BundleError(f"{library.name} is not a 64-bit little-endian library.")
    return elf
