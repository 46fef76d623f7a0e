"""What a front mirrors to an observer: in a real Envoy, before real workers, to the observer's real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from stopgap.errors import FrontError
from stopgap.front.admin import Admin
from stopgap.front.arm_log import OBSERVER_HEADER as COMPARISON_HEADER
from stopgap.front.mirrored import Mirrored, mirrored
from stopgap.front.mirroring import OBSERVER_HEADER
from stopgap.front.settings import Mirror, Split, Takeover
from stopgap.observer.receiver import receiving
from stopgap_protos.serving_pb2 import PredictResponse

from tests.front_scene import RANKER, Front, Sandbox, eventually, front_folder, running_front, upstream
from tests.runtime.test_front_envoy import PREDICT, channel_to, message

WORD = "a-word-that-nobody-guesses"
ALL = replace(RANKER, mirrors=(Mirror("shadow", 1_000_000),), observers=(WORD,))


@dataclass
class Observer:
    """Remembers what is shown to it."""

    largest_bytes = 128 << 20
    sizes: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def offer(self, content: bytes, request_id: str = "") -> None:
        self.sizes.append(len(content))
        self.ids.append(request_id)

    def refuse_large(self) -> None:
        self.sizes.append(-1)

    refuse_unreadable = refuse_large


@contextmanager
def listening(folder: Path, kind: str = "shadow") -> Iterator[Observer]:
    observer = Observer()
    with receiving(folder / "observers" / f"ranker.{kind}.sock", observer, lambda: None):
        yield observer


@dataclass(frozen=True)
class Scene:
    front: Front
    channel: grpc.Channel

    def asked(self, times: int, *, padding: int = 0, header: str = "", value: str = "") -> None:
        """Each is answered, whatever becomes of its copy."""
        call: Any = self.channel.unary_unary  # its stubs ask for what may be left out
        predict = call(PREDICT)
        for _ in range(times):
            predict(message("ranker", padding=padding), timeout=30, metadata=((header, value),) if header else ())

    def counted(self, kind: str = "shadow") -> Mirrored:
        return mirrored(self.front.admin, "ranker", kind)


@pytest.fixture
def folder() -> Iterator[Path]:
    with front_folder() as folder:
        yield folder


@contextmanager
def scene_in(folder: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        stack.enter_context(Sandbox(folder / "sandboxes", "ranker", 2))
        front = stack.enter_context(running_front(folder, ALL))
        yield Scene(front, stack.enter_context(channel_to(front)))


def test_every_prediction_is_shown_to_the_observer_and_counted_large_ones_too(folder: Path) -> None:
    with listening(folder) as observer, scene_in(folder) as scene:
        scene.asked(20)
        scene.asked(1, padding=100 << 20)
        eventually(lambda: len(observer.sizes) == 21, timeout_s=30)
        assert observer.sizes[-1] > 100 << 20
        eventually(lambda: scene.counted() == Mirrored(predictions=21, sent=21, delivered=21), timeout_s=30)


def test_what_the_observer_asks_is_neither_mirrored_nor_counted_as_a_users(folder: Path) -> None:
    with listening(folder) as observer, scene_in(folder) as scene:
        scene.asked(5, header=OBSERVER_HEADER, value=WORD)
        scene.asked(7, header=COMPARISON_HEADER, value="compare")
        scene.asked(3, header=OBSERVER_HEADER, value="a guess")
        eventually(lambda: scene.counted() == Mirrored(predictions=3, sent=3, delivered=3))
        assert len(observer.sizes) == 3


@pytest.mark.parametrize("beside", [("lane", "aside"), ("lane",)], ids=["there", "not there"])
def test_what_an_observer_asks_goes_to_its_own_worker_or_to_the_users_while_that_is_not_there(
    beside: tuple[str, ...], folder: Path
) -> None:
    with ExitStack() as stack:
        stack.enter_context(Sandbox(folder / "sandboxes", "ranker", 2, beside=beside))
        channel = stack.enter_context(channel_to(stack.enter_context(running_front(folder, ALL))))

        def answering(header: str, value: str) -> set[str]:
            call: Any = channel.unary_unary
            predict = call(PREDICT, response_deserializer=PredictResponse.FromString)
            metadata = ((header, value),)
            answers = [predict(message("ranker"), timeout=30, metadata=metadata) for _ in range(8)]
            return {str(answer.model_spec.signature_name) for answer in answers}

        users = {"ranker/0", "ranker/1"}
        assert answering(OBSERVER_HEADER, WORD) == ({"ranker/aside"} if "aside" in beside else users)
        assert answering(COMPARISON_HEADER, "compare") == users
        assert answering("x-user-id", "somebody") == users


def test_what_is_shown_comes_with_the_requests_own_id(folder: Path) -> None:
    with listening(folder) as observer, scene_in(folder) as scene:
        for number in range(3):
            scene.asked(1, header="x-request-id", value=f"users-own-{number}")
        eventually(lambda: len(observer.ids) == 3)
        assert all(observer.ids)
        assert len(set(observer.ids)) == 3


def test_two_observers_are_shown_the_same_requests_each_as_many_as_it_wants(folder: Path) -> None:
    both = replace(ALL, mirrors=(Mirror("shadow", 300_000), Mirror("recording", 600_000)))
    with listening(folder) as shadow, listening(folder, "recording") as recorder, scene_in(folder) as scene:
        scene.front.route(both)
        for number in range(200):
            scene.asked(1, padding=number)
        eventually(lambda: scene.counted().predictions == scene.counted("recording").predictions == 200)
        for kind, observer in (("shadow", shadow), ("recording", recorder)):
            eventually(partial(all_are_shown, scene, kind, observer))
        assert 27 < len(shadow.sizes) < 93  # five deviations, as the next
        assert 85 < len(recorder.sizes) < 155
        assert set(shadow.sizes) < set(recorder.sizes)  # one draw for each request


def all_are_shown(scene: Scene, kind: str, observer: Observer) -> bool:
    counted = scene.counted(kind)
    return not counted.waiting and counted.sent == len(observer.sizes)


@pytest.mark.parametrize("split", [None, Split(5000, "x-user-id", "(.+)", "5eed")], ids=["promoted", "split"])
def test_whoever_answers_to_the_name_its_observer_is_shown_the_same(folder: Path, split: Split | None) -> None:
    next_one = upstream("ranker.next")
    with listening(folder) as observer, Sandbox(folder / "sandboxes", next_one.name, 1), scene_in(folder) as scene:
        scene.asked(3)
        scene.front.route(
            ALL, next_one, takeovers=[Takeover("ranker", next_one.name, legacy=True, version=1, split=split)]
        )
        for number in range(40):
            scene.asked(1, header="x-user-id", value=f"user-{number}")
        scene.asked(2)  # tell no key
        scene.asked(4, header=OBSERVER_HEADER, value=WORD)
        eventually(lambda: scene.counted() == Mirrored(predictions=45, sent=45, delivered=45))
        assert len(observer.sizes) == 45


def test_the_successors_own_observer_is_shown_and_told_of_what_is_asked_under_its_own_name(folder: Path) -> None:
    old = upstream("clicks.v1")
    with listening(folder) as observer, Sandbox(folder / "sandboxes", old.name, 1), scene_in(folder) as scene:
        scene.front.route(old, ALL, takeovers=[Takeover(old.name, "ranker", legacy=True, version=1)])
        call: Any = scene.channel.unary_unary
        for name, times in ((old.name, 7), ("ranker", 3)):
            for _ in range(times):
                call(PREDICT)(message(name), timeout=30)
        eventually(lambda: scene.counted() == Mirrored(predictions=3, sent=3, delivered=3))
        assert len(observer.sizes) == 3


@pytest.mark.parametrize("split", [None, Split(5000, "x-user-id", "(.+)", "5eed")], ids=["promoted", "split"])
def test_what_a_comparison_asks_of_a_name_that_is_taken_over_is_neither_mirrored_nor_counted(
    folder: Path, split: Split | None
) -> None:
    next_one = upstream("ranker.next")
    takeover = Takeover("ranker", next_one.name, legacy=True, version=1, split=split)
    with listening(folder) as observer, Sandbox(folder / "sandboxes", next_one.name, 1), scene_in(folder) as scene:
        scene.front.route(ALL, next_one, takeovers=[takeover])
        scene.asked(5, header=COMPARISON_HEADER, value="compare")
        scene.asked(2)
        eventually(lambda: scene.counted() == Mirrored(predictions=2, sent=2, delivered=2))
        assert len(observer.sizes) == 2


def test_a_sample_is_changed_while_envoy_runs(folder: Path) -> None:
    with listening(folder) as observer, scene_in(folder) as scene:
        scene.front.route(replace(ALL, mirrors=(Mirror("shadow", 0),)))
        scene.asked(50)
        assert observer.sizes == []
        scene.front.route(replace(ALL, mirrors=(Mirror("shadow", 300_000),)))
        scene.asked(400)
        eventually(lambda: scene.counted().predictions == 450)
        eventually(partial(all_are_shown, scene, "shadow", observer))
        assert 70 < len(observer.sizes) < 170  # five deviations


def test_users_are_answered_while_nobody_observes_and_what_is_lost_is_counted(folder: Path) -> None:
    with scene_in(folder) as scene:
        scene.asked(10)
        eventually(lambda: scene.counted() == Mirrored(predictions=10, sent=10, undelivered=10))


@pytest.mark.parametrize(("times", "padding"), [(200, 0), (100, 14 << 20)], ids=["many", "large"])
def test_users_are_answered_while_the_observer_hangs(folder: Path, times: int, padding: int) -> None:
    """Without an end to its copies the front would refuse the large ones from the 63rd on: 0.6 of 1536 MiB."""
    with socket.socket(socket.AF_UNIX) as silent, scene_in(folder) as scene:
        silent.bind(f"{folder}/observers/ranker.shadow.sock")
        silent.listen(64)
        scene.asked(times, padding=padding)
        eventually(lambda: scene.counted() == Mirrored(predictions=times, sent=times, undelivered=times))


def test_a_burst_is_shown_and_leaves_no_connection_that_another_thread_would_lack(folder: Path) -> None:
    with listening(folder) as observer, scene_in(folder) as scene:
        call: Any = scene.channel.unary_unary
        predict = call(PREDICT)
        for asked in [predict.future(message("ranker"), timeout=30) for _ in range(60)]:
            asked.result()
        eventually(lambda: len(observer.sizes) == 60)
        eventually(lambda: scene.counted() == Mirrored(predictions=60, sent=60, delivered=60))
        eventually(lambda: open_connections(scene.front.admin) == 0)


def open_connections(admin: Admin) -> int:
    (found,) = admin.statistics(r"^cluster\.mirror/shadow/ranker\.upstream_cx_active$")
    return int(found["value"])


def test_without_envoy_there_is_nothing_to_count(tmp_path: Path) -> None:
    with pytest.raises(FrontError, match="does not answer"):
        mirrored(Admin(tmp_path), "ranker", "shadow")
