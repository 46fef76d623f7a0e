"""One front with an honest neighbour behind it, where hostile models come and go, and what is seen of each."""

from __future__ import annotations

import glob
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from stopgap import deployment
from stopgap.answering import model_answers
from stopgap.client.channel import ServingChannel
from stopgap.client.tensors import to_array, to_proto
from stopgap.containment.specs import sandbox_container
from stopgap.engines.choice import Engines
from stopgap.errors import PredictionError
from stopgap.incidents import Incident, WorkersState, ask_workers_state
from stopgap.isolations import GVISOR
from stopgap.settings import Limits, ServeSettings, Timeouts
from stopgap.store import Deployment, Store
from stopgap_protos.serving_pb2 import PredictRequest

from tests.backstage import api
from tests.hostile import NEIGHBOUR, Attack, array_of, laid_out
from tests.hostile.expectations import Expectation, Outcome
from tests.hostile.neighbour import Neighbour
from tests.stopgap_program import Program, program_in

__all__ = ["Served", "Stage", "stage_on"]

# One processor of a small machine is left for who asks, and for the front.
LIMITS: Final = Limits(memory_mib=1024, cpus=1.0)
PATIENCE_S: Final = 30.0
# Beyond a run's own limit: by then it is decided whether TensorFlow ends the run, or the parent its worker.
BEYOND_THE_LIMIT_S: Final = 1.5
LOOK_EVERY_S: Final = 0.01
DEADLINE_EXCEEDED, UNAVAILABLE = 4, 14


@dataclass(frozen=True)
class Seen:
    """What a caller was told, and what it had cost.

    Attributes:
        code: gRPC's; 0 for an answer.
        deaths: Incidents that came with it.
    """

    outcome: Outcome
    code: int
    text: str
    outputs: Mapping[str, NDArray[Any]]
    deaths: tuple[Incident, ...]


@dataclass(frozen=True)
class Served:
    """A hostile model that was loaded.

    Attributes:
        load_s: From the sandbox's start until it said that the model is loaded.
    """

    stage: Stage
    deployment: Deployment
    load_s: float

    @property
    def state(self) -> WorkersState:
        """What its parent says of its workers."""
        return ask_workers_state(self.deployment, self.stage.store)

    def ask(self, request: PredictRequest, timeout_s: float) -> Seen:
        """One request through the front."""
        known = {incident.name for incident in self.state.incidents}
        try:
            outputs = self.stage.channel.predict(request, timeout_s).outputs
        except PredictionError as error:
            deaths = self._deaths_since(known, at_least=1 if error.code == UNAVAILABLE else 0)
            outcome = {DEADLINE_EXCEEDED: Outcome.DEADLINE}.get(error.code, Outcome.STATUS)
            if error.code == UNAVAILABLE and deaths:
                outcome = Outcome.DEATH
            return Seen(outcome, error.code, str(error), {}, deaths)
        arrays = {alias: to_array(tensor) for alias, tensor in outputs.items()}
        return Seen(Outcome.ANSWER, 0, "", arrays, self._deaths_since(known))

    def attacked(self, attack: Attack, expectation: Expectation) -> Seen:
        """The case's request, as often as it is to be sent, until it is refused."""
        timeout_s = min(PATIENCE_S, expectation.run_timeout_s + BEYOND_THE_LIMIT_S)
        for _ in range(attack.repeat):
            seen = self.ask(attack.request, timeout_s)
            if seen.outcome is not Outcome.ANSWER:
                break
        return seen

    def good(self, attack: Attack, expectation: Expectation) -> PredictRequest:
        """The case's honest request."""
        request = PredictRequest()
        request.model_spec.name = self.deployment.name
        for alias, value in expectation.good.items():
            request.inputs[alias].CopyFrom(to_proto(array_of(value, attack.dtypes.get(alias, "float32"))))
        return request

    def is_well(self, good: PredictRequest | None) -> bool:
        """Whether it answers: an honest request where there is one, else how it is."""
        if good is None:
            return model_answers(self.deployment.address, self.deployment.name, timeout_s=1)
        try:
            self.stage.channel.predict(good, timeout_s=1)
        except PredictionError:
            return False
        return True

    def well_after_s(self, good: PredictRequest | None, bound_s: float) -> float:
        """How long it takes from now on until it is well; infinity where it is not within the bound."""
        began = time.monotonic()
        well = until(lambda: self.is_well(good), bound_s)
        return time.monotonic() - began if well else math.inf

    def log(self) -> tuple[str, ...]:
        """All that its sandbox has printed of late."""
        lines: tuple[str, ...] = self.stage.engine.logs(sandbox_container(self.deployment.name), 1000)
        return lines

    def sockets_folder(self) -> Path:
        """The one folder of the host's that its sandbox may have been given to write to."""
        return self.stage.store.sandbox_folder(self.deployment.front.grpc_port, self.deployment.name)

    def own_tmp(self) -> Path | None:
        """Its /tmp, where a host's root can look into it."""
        pid = self.stage.program.backstage.first_process(sandbox_container(self.deployment.name))
        folder = Path(f"/proc/{pid}/root/tmp")
        return folder if os.geteuid() == 0 and self.stage.wall != "gvisor" and folder.is_dir() else None

    def _deaths_since(self, known: set[str], at_least: int = 0) -> tuple[Incident, ...]:
        """The new incidents; where one must have come, its parent is given a moment to write it down."""
        ends_at = time.monotonic() + 1
        while True:
            new = tuple(incident for incident in self.state.incidents if incident.name not in known)
            if len(new) >= at_least or time.monotonic() > ends_at:
                return new
            time.sleep(LOOK_EVERY_S)


@dataclass(frozen=True)
class Stage:
    """A front on one wall.

    Attributes:
        circumstances: By which `expected.toml` may make exceptions here.
    """

    wall: str
    program: Program
    neighbour: Neighbour
    channel: ServingChannel
    circumstances: tuple[str, ...]
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", Store(self.program.state))

    @property
    def engine(self) -> Any:
        """Of its sandboxes."""
        return Engines(self.store.folder).named(self.program.engine)

    def called(self, name: str) -> str:
        """What a model is served as here: Docker has two walls, which may be tried side by side."""
        return called(name, self.wall)

    @contextmanager
    def serving(self, name: str, model: Path, expectation: Expectation) -> Iterator[Served]:
        """Serves one model as long as the context lasts.

        Raises:
            StopgapError: It could not be served.
        """
        phases: dict[str, float] = {}

        def note(phase: str, _fraction: float | None) -> None:
            phases.setdefault(phase, time.monotonic())

        wanted = serve_settings(self.program, self.wall, name, model, expectation)
        served = deployment.serve(wanted, self.engine, self.store, _say_nothing, note)
        try:
            yield Served(self, served, phases["joining the front"] - phases["starting the sandbox"])
        finally:
            deployment.stop(self.called(name), Engines(self.store.folder), self.store, _say_nothing)


def called(name: str, wall: str) -> str:
    return f"{name}-{wall}"


def serve_settings(program: Program, wall: str, name: str, model: Path, expectation: Expectation) -> ServeSettings:
    return ServeSettings(
        name=called(name, wall),
        model=model,
        isolation=GVISOR if wall == "gvisor" else "",
        until=date.today() + timedelta(days=1),
        address=program.address,
        limits=LIMITS,
        timeouts=Timeouts(load_s=expectation.load_timeout_s, run_s=expectation.run_timeout_s, drain_s=1),
    )


@contextmanager
def stage_on(wall: str, folder: Path) -> Iterator[Stage]:
    """A front and the neighbour, who is asked from now on until the end."""
    with program_in(folder, engine_of(wall)) as program:
        model = laid_out(NEIGHBOUR, folder / "neighbour")
        wanted = serve_settings(program, wall, "neighbour", model, Expectation(Outcome.ANSWER, why=""))
        store = Store(program.state)
        engine = Engines(store.folder).named(program.engine)
        deployment.serve(wanted, engine, store, _say_nothing, lambda _phase, _fraction: None)
        circumstances = (*_base(program.engine, wall), wall)
        address = program.address.grpc
        with Neighbour(address, called("neighbour", wall)) as neighbour, ServingChannel(address) as channel:
            yield Stage(wall, program, neighbour, channel, circumstances)


def engine_of(wall: str) -> str:
    """Docker has gVisor."""
    return {"gvisor": "docker"}.get(wall, wall)


def _base(engine: str, wall: str) -> tuple[str, ...]:
    """What Docker's images stand on, if that is the official Python."""
    if engine != "docker":
        return ()
    labels = api().inspect_container(sandbox_container(called("neighbour", wall)))["Config"]["Labels"]
    return ("official",) if labels.get("stopgap.base") == "official" else ()


def _say_nothing(_line: str) -> None:
    pass


# --- What must not be found outside -----------------------------------------------------------------------------------

_DROPPED: Final = ("/tmp/hostile_*", "/tmp/json.py", "/tmp/.local/lib/python3.7")  # noqa: S108 - the attackers' choice


def dropped_on_the_host() -> frozenset[str]:
    """The files that hostile models try to leave."""
    return frozenset(path for pattern in _DROPPED for path in glob.glob(pattern, include_hidden=True))  # noqa: PTH207


def digest_of(folder: Path) -> str:
    """Of all plain files in a folder, with their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode())
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def same(expected: Any, actual: NDArray[Any]) -> bool:
    """Whether an output is what `expected.toml` has: texts as bytes, NaN like NaN, nothing like nothing."""
    if isinstance(expected, str) or (isinstance(expected, list) and expected and isinstance(expected[0], str)):
        texts = [expected] if isinstance(expected, str) else expected
        return [text.encode() for text in texts] == actual.ravel().tolist()
    wanted = np.array(expected, dtype=actual.dtype)
    if wanted.size == 0:
        return actual.size == 0
    return wanted.shape == actual.shape and np.allclose(wanted, actual, equal_nan=True)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    ends_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends_at:
            return False
        time.sleep(LOOK_EVERY_S)
    return True
