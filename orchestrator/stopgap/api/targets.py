"""What somebody means who names a model: a folder, a deployment of this machine, or an address."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from stopgap.errors import DeploymentError
from stopgap.settings import LAST_PORT, NAME
from stopgap.store import Store

__all__ = ["Folder", "Remote", "Running", "Target", "target_of"]

ADDRESS = re.compile(
    r"(?:grpc://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})(?:/(?P<model>[^/\s]+))?"
)


@dataclass(frozen=True)
class Folder:
    """A SavedModel on this machine."""

    path: Path


@dataclass(frozen=True)
class Running:
    """A deployment of this machine's state folder."""

    name: str


@dataclass(frozen=True)
class Remote:
    """A model at an address, whoever serves it."""

    address: str
    name: str


Target = Union[Folder, Running, Remote]


def target_of(named: str | os.PathLike[str], model: str | None, store: Store) -> Target:
    """`HOST:PORT` and `HOST:PORT/MODEL` are an address; a word is what runs under it, else a folder; all else a folder.

    Args:
        model: The model's name at an address.

    Raises:
        DeploymentError: At the address no model is named or two are, or its port cannot be; elsewhere one is named.
            Nothing is called so, while other models are served.
    """
    if not isinstance(named, str):
        return unnamed(Folder(Path(named)), model)
    if address := ADDRESS.fullmatch(named):
        if not 1 <= int(address["port"]) <= LAST_PORT:
            raise DeploymentError(f"{named} has no port that can be: {address['port']}.", f"Ports end at {LAST_PORT}.")
        name = address["model"] or model
        if model and name != model:
            raise DeploymentError(f"{named} names a model, and name={model!r} another.", "Leave one of them out.")
        if not name:
            raise DeploymentError(
                f"Which model at {named}? An address may have several.", f"Name it: {named}/MODEL, or name='MODEL'."
            )
        return Remote(f"{address['host']}:{address['port']}", name)
    if "://" in named:
        raise DeploymentError(
            f"{named} is no address that can be loaded from.",
            "Write HOST:PORT/MODEL, of TF Serving's gRPC; what lies elsewhere must be copied into a folder.",
        )
    if NAME.fullmatch(named) and store.find(named) is not None:
        return unnamed(Running(named), model)
    if NAME.fullmatch(named) and not Path(named).exists() and (known := store.names()):
        raise DeploymentError(
            f"{named} is neither a deployment nor a folder here.",
            f"There are the deployments {', '.join(known)}. A folder is one that holds saved_model.pb.",
        )
    return unnamed(Folder(Path(named)), model)


def unnamed(target: Target, model: str | None) -> Target:
    """
    Raises:
        DeploymentError: It was given a name, which it has already.
    """
    if model is not None:
        raise DeploymentError(
            f"name={model!r} names a model at an address, and this is none.",
            "Leave it out: a folder's model is called after its content.",
        )
    return target
