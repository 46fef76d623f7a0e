"""`stopgap sbom`: what a sandbox or a front is made of, for scanners and inventories."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path

import click

from stopgap import bundles
from stopgap.bundle_rows import BundleRow, default_row, row
from stopgap.cli.output import Reporter, reporter
from stopgap.contents import LISTS, contents
from stopgap.engines.choice import AUTO, BUBBLEWRAP, CHOICES, Engines
from stopgap.engines.protocol import Engine
from stopgap.fingerprints import Fingerprint
from stopgap.installed_packages import owners
from stopgap.model_contents import model_digest
from stopgap.records import Records
from stopgap.sbom import Subject, document
from stopgap.store import Store

__all__ = ["sbom"]

KINDS = ("legacy", "modern", "front")


@click.command()
@click.argument("what", metavar="[legacy|modern|front|NAME]", default="legacy")
@click.option(
    "--engine", "engine_name", type=click.Choice(CHOICES), default=AUTO, show_default=True, help="Whose image."
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it.  [default: stdout]")
def sbom(what: str, engine_name: str, output: Path | None) -> None:
    """Write the bill of materials of an image, or of a deployment with its model, as CycloneDX JSON.

    Every wheel and Debian package by name, version and hash, and the files of TensorFlow and of stopgap itself. Without
    Docker a sandbox sees the host's own /usr: then it is those of the host's packages and files that are used. An image
    that is not there yet is made first. A deployment is told as it was when it was first served.
    """
    store = Store.default()
    engines = Engines(store.folder)
    with reporter() as report:
        if what in KINDS:
            text = of_image(what, engines.choose(engine_name, None).engine, report)
        else:
            text = of_deployment(what, engines, store)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


def of_image(kind: str, engine: Engine, report: Reporter) -> str:
    bundled = None if kind == "front" else default_row(kind)
    bundle = bundles.ensure(bundled.name, report.progress) if bundled else None
    image = engine.prepare(kind, bundle, report.say, report.progress)
    made = engine.fingerprint(image, report.progress)
    return written(subject_of(kind, made, engine), made, bundled, engine)


def of_deployment(name: str, engines: Engines, store: Store) -> str:
    deployment = store.deployment(name)
    record = Records(store.folder).get(name)
    bundled, engine = row(deployment.bundle), engines.named(deployment.engine)
    subject = replace(
        subject_of(bundled.kind, record.sandbox, engine),
        model=(record.model.folder, record.model.files, model_digest(tuple(record.model.files.items()))),
        op_libraries=record.op_libraries,
    )
    return written(subject, record.sandbox, bundled, engine)


def subject_of(kind: str, made: Fingerprint, engine: Engine) -> Subject:
    version = metadata.version("stopgap")
    return Subject(f"stopgap/{kind}", version, made.image, made.identity, is_image=engine.name != BUBBLEWRAP)


def written(subject: Subject, made: Fingerprint, bundled: BundleRow | None, engine: Engine) -> str:
    lists = engine.read(made.identity if subject.is_image else made.image, LISTS)
    return document(subject, contents(made, lists, bundled, None if subject.is_image else owners))
