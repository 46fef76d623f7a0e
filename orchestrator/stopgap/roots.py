"""Roots: what containers are made of where there are no images, laid out in the user's cache, whole or not at all.

<cache>/roots/<kind>-<12 hex>/app/          the locked packages, the runtime and the wire contract, compiled
<cache>/roots/<kind>-<12 hex>/bundle/       TensorFlow's libraries
<cache>/roots/<kind>-<12 hex>/envoy         in a front's root, instead of these two
<cache>/roots/<kind>-<12 hex>/python        the version of the Python that it was compiled for, and that runs it
<cache>/roots/<kind>-<12 hex>/root.sha256   the digest of every other file, as sha256sum writes and checks it
<cache>/roots/.holders/                     which containers are made of which root
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shlex
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from platformdirs import user_cache_path

from stopgap import ingredients
from stopgap.bundles import Bundle
from stopgap.digests import sha256_of
from stopgap.errors import ImageError
from stopgap.fingerprints import link_digest
from stopgap.interpreter import Interpreter, interpreter
from stopgap.progress import Progress, silent
from stopgap.workshop import DROPPED_AFTER_S, workshop

__all__ = ["ensure", "hold", "identity", "measured", "place", "promised", "verify"]

_LIST = "root.sha256"
_HOLDERS = ".holders"
_INSIDE = "/opt/stopgap"  # where a container sees what is in a root: tracebacks name that
_MOST_NAMED = 5


def ensure(
    kind: str,
    bundle: Bundle | None,
    say: Callable[[str], None],
    progress: Progress = silent,
    *,
    cache: Path | None = None,
) -> Path:
    """The root of that kind ("legacy", "modern", "front"), laid out first where it is not there yet.

    What deserves a line of its own goes to `say`. The front takes no bundle.

    Raises:
        ImageError: It could not be laid out: no packages, a full disk; nothing is left behind.
        EngineError: No Python on this machine can run it.
    """
    python = None if kind == "front" else interpreter()
    root = (cache or user_cache_path("stopgap")) / "roots" / _name(kind, bundle, python)
    with contextlib.suppress(OSError):  # it is not there yet; or nothing can be written, and so nothing dropped either
        os.utime(root)  # by which it counts as asked for
    if not _is_whole(root):
        with workshop("roots", root.parent, progress) as scratch:
            if not _is_whole(root):  # it may be by now, by whoever held the lock before
                say(f"Preparing {root.name} in {root.parent}; this is done once.")
                progress(f"gathering what goes into {root.name}", None)
                made = scratch / "root"
                made.mkdir()
                _fill(made, kind, bundle, python, scratch)
                _settle(made)
                _put(made, root, scratch)
                _drop_old(kind, root, scratch)
    return root


def hold(root: Path, container: Path) -> None:
    """Keeps a root, however old, for a container that is made of it, as long as the container's folder is there."""
    all_holders = root.parent / _HOLDERS
    link = all_holders / root.name / hashlib.sha256(os.fsencode(container)).hexdigest()[:12]
    with contextlib.suppress(OSError):  # where nothing can be written, nothing is dropped either
        for other in all_holders.glob("*/*"):
            if other.name == link.name or not other.exists():
                other.unlink(missing_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(container)


def verify(root: Path) -> None:
    """Computes the SHA-256 of every file of a root anew.

    Raises:
        ImageError: Files are missing, differ or were added since it was laid out; they are named.
    """
    try:
        wrong = list(_differences(root))
    except (OSError, ValueError) as error:  # the list is gone or garbled
        wrong = [str(error)]
    if wrong:
        named = wrong[:_MOST_NAMED] + [f"and {len(wrong) - _MOST_NAMED} more"] * (len(wrong) > _MOST_NAMED)
        raise ImageError(
            f"{root} is not what was laid out there: {', '.join(named)}.",
            f"Take it away, then serve again, which lays it out anew: rm -r {shlex.quote(str(root))}",
        )


def place(root: Path, inside: str) -> Path | None:
    """Where in a root a file is that is seen inside under that path; None where that is none of a root's files."""
    folder, _, name = inside.partition(f"{_INSIDE}/")
    return root / name if name and not folder else None


def identity(root: Path) -> str:
    """The digest of its list, and so of all that is in it; empty where there is no such root."""
    try:
        return f"sha256:{sha256_of(root / _LIST)}"
    except OSError:
        return ""


def promised(root: Path) -> dict[str, str]:
    """The digests with which it was laid out, by path as seen inside.

    Raises:
        ImageError: Its list is gone or garbled.
    """
    try:
        return {f"{_INSIDE}/{name}": digest for name, digest in _promised(root).items()}
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{root} has no list of what is in it: {error}.", "Stop what runs of it, then serve again."
        ) from error


def measured(root: Path, on_share: Callable[[float], None]) -> dict[str, str]:
    """The digests that its files have now; `on_share` hears how much of it is done, 0.0 to 1.0."""
    paths = list(_files(root))
    whole = sum(path.lstat().st_size for path in paths) or 1
    digests, done = {}, 0
    for path in paths:
        on_share(done / whole)
        digests[f"{_INSIDE}/{path.relative_to(root).as_posix()}"] = (
            link_digest(str(path.readlink())) if path.is_symlink() else sha256_of(path)
        )
        done += path.lstat().st_size
    return digests


def _differences(root: Path) -> Iterator[str]:
    promised = _promised(root)
    there = {path.relative_to(root).as_posix(): path for path in _files(root)}
    yield from (f"{name} is missing" for name in promised if name not in there)
    for name, path in there.items():
        if name not in promised:
            yield f"{name} was added"
        elif path.is_symlink() or sha256_of(path) != promised[name]:
            yield f"{name} differs"
        elif not path.stat().st_mode & stat.S_IROTH:
            yield f"{name} is closed to a sandbox's user"


def _name(kind: str, bundle: Bundle | None, python: Interpreter | None) -> str:
    """`<kind>-<12 hex digits of everything that goes in>`."""
    digest = hashlib.sha256(f"{kind}\0{python.version if python else ''}\0{bundle.digest if bundle else ''}\0".encode())
    for name, path in {**ingredients.inputs(kind), Path(__file__).name: Path(__file__)}.items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return f"{kind}-{digest.hexdigest()[:12]}"


def _is_whole(root: Path) -> bool:
    """Looks at names, not at contents."""
    try:
        return all((root / name).is_file() for name in _promised(root))
    except (OSError, ValueError):  # absent or broken: either way it is laid out anew
        return False


def _fill(made: Path, kind: str, bundle: Bundle | None, python: Interpreter | None, scratch: Path) -> None:
    """Everything that is in a root, and the list of it, into the existing folder `made`."""
    if python is None:
        ingredients.lay_out_envoy(made / "envoy", ingredients.target("3.11"), scratch)
    elif bundle is None:
        raise ImageError(f"A {kind} root needs a bundle.")
    else:
        ingredients.lay_out_site(made / "app", ingredients.target(python.series), scratch)
        ingredients.lay_out_code(made / "app")
        _compile(made, python)
        ingredients.lay_out_bundle(bundle, made / "bundle")
        (made / "python").write_text(f"{python.version}\n", encoding="utf-8")
    _write_list(made)


def _compile(made: Path, python: Interpreter) -> None:
    """Unchecked, as in an image: nothing in a root changes, and a sandbox could not write what it compiles."""
    mode = ["--invalidation-mode", "unchecked-hash", "-s", str(made), "-p", _INSIDE]
    command = [str(python.executable), "-I", "-m", "compileall", "-q", *mode, str(made / "app")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", errors="replace")
        if os.strerror(errno.ENOSPC) in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        told = [*(line for line in lines if line.startswith("***")), *lines[-1:]]  # which files, and what of the last
        raise ImageError(
            f"{python.executable} could not compile the runtime: {' '.join(told)}",
            "Is this Python whole? Reinstall it, or put another on the path before it.",
        )


def _write_list(made: Path) -> None:
    """A bundle's files are to have the digests that its own list promised when it was fetched."""
    described = made / "bundle" / "bundle.json"
    fetched = json.loads(described.read_text(encoding="utf-8"))["files"] if described.is_file() else {}
    digests = {f"bundle/{name}": digest for name, digest in fetched.items()}
    for path in _files(made):
        name = path.relative_to(made).as_posix()
        digests.setdefault(name, sha256_of(path))
    lines = [f"{digests[name]}  {name}\n" for name in sorted(digests)]
    (made / _LIST).write_text("".join(lines), encoding="utf-8")


def _promised(root: Path) -> dict[str, str]:
    lines = (root / _LIST).read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _files(folder: Path) -> Iterator[Path]:
    """All but the list; a link is a file, whatever it leads to."""
    for path in sorted(folder.rglob("*")):
        if path != folder / _LIST and (path.is_symlink() or not path.is_dir()):
            yield path


def _settle(made: Path) -> None:
    """Readable by a sandbox's user, and on the disk before the rename says that it is whole."""
    ingredients.open_to_all(made)
    for path in [made, *made.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put(made: Path, root: Path, scratch: Path) -> None:
    """In the place of a root that is not whole any more, where there is one."""
    if root.exists():
        root.rename(scratch / "broken")
    made.rename(root)


def _drop_old(kind: str, keep: Path, scratch: Path) -> None:
    """Takes away the roots of that kind that nobody has asked for in a day and that no container is made of."""
    latest = time.time() - DROPPED_AFTER_S
    for root in keep.parent.glob(f"{kind}-*"):
        if root != keep and root.stat().st_mtime <= latest and not _is_held(root):
            root.rename(scratch / root.name)  # gone at once; the scratch folder then goes file by file


def _is_held(root: Path) -> bool:
    return any(link.exists() for link in (root.parent / _HOLDERS / root.name).glob("*"))
