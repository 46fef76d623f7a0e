"""A sandbox that puts a link in its socket's place, for the front to follow: it cannot make one, and one leads nowhere.

Docker alone: bubblewrap's sandboxes have their sockets handed in, and see no folder of them.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from stopgap.containment.specs import sandbox_container
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse

from tests import zoo
from tests.backstage import children_of
from tests.load import until
from tests.stopgap_program import Program, program_in

pytestmark = [pytest.mark.docker, pytest.mark.slow]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
UNAVAILABLE, NOT_FOUND, UNIMPLEMENTED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
)
PATIENCE_S = 15.0


@pytest.fixture(scope="module")
def stopgap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program_in(tmp_path_factory.mktemp("links")) as program:
        program.serve(zoo.ZOO / "stn_affine_resampler", "stn", "--memory", "600", "--cpus", "1")
        program.serve(zoo.ZOO / "lsh_retrieval", "other", "--memory", "600", "--cpus", "1")
        yield program


@pytest.fixture
def lead(stopgap: Program) -> Iterator[Callable[[str | Path], None]]:
    """Puts links to a path in the place of all of stn's sockets, when no connection to them is left.

    The sockets are there again afterwards.
    """
    folder = stopgap.state / "fronts" / str(stopgap.port) / "sandboxes" / "stn"
    places = sorted(folder.glob("*.sock"))

    def put(target: str | Path) -> None:
        for place in places:
            place.rename(place.with_suffix(".kept"))
            place.symlink_to(target)
        end_workers(stopgap)

    yield put
    for place in places:
        place.unlink()
        place.with_suffix(".kept").rename(place)
    end_workers(stopgap)


def end_workers(stopgap: Program) -> None:
    """And with them the connections that the front keeps; others take their places."""
    for name in ("stn", "other"):
        for worker in children_of(stopgap.backstage.first_process(sandbox_container(name))):
            os.kill(worker, signal.SIGKILL)
    until(lambda: stopgap.answers("other"), PATIENCE_S)


def answer(stopgap: Program) -> grpc.StatusCode:
    """What the front says to a caller of stn."""
    request = PredictRequest()
    request.model_spec.name = "stn"
    with grpc.insecure_channel(stopgap.address.grpc) as channel:
        call = channel.unary_unary(PREDICT, PredictRequest.SerializeToString, PredictResponse.FromString)
        try:
            call(request, timeout=10)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def test_a_link_to_a_socket_of_the_hosts_leads_nowhere(stopgap: Program, lead: Callable[[str | Path], None]) -> None:
    """The front resolves it among the few folders that it sees itself, not on the host."""
    hosts = Path("/tmp") / f"stopgap-{os.getpid()}.sock"  # noqa: S108 - a short path, which a socket's has to be
    reached = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(hosts))
        hosts.chmod(0o666)
        listener.listen()
        listener.settimeout(3)
        lead(hosts)
        waiting = threading.Thread(target=accept, args=(listener, reached))
        waiting.start()
        until(lambda: answer(stopgap) is UNAVAILABLE, PATIENCE_S)
        waiting.join()
        assert answer(stopgap) is UNAVAILABLE
    hosts.unlink()
    assert not reached.is_set()


def accept(listener: socket.socket, reached: threading.Event) -> None:
    try:
        listener.accept()[0].close()
    except TimeoutError:
        return
    reached.set()


@pytest.mark.parametrize(
    ("target", "code"),
    [("/run/stopgap/sandboxes/other/worker-0.sock", NOT_FOUND), ("/run/stopgap/admin/admin.sock", UNIMPLEMENTED)],
    ids=["other", "admin"],
)
def test_a_link_to_what_the_front_sees_itself_gives_no_answer_of_theirs(
    stopgap: Program, lead: Callable[[str | Path], None], target: str, code: grpc.StatusCode
) -> None:
    """Another model's runtime answers for its own name alone; the front's own pages have no such path."""
    lead(target)
    until(lambda: answer(stopgap) is code, PATIENCE_S)
    assert stopgap.answers("other")
