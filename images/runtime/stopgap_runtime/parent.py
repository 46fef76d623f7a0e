"""The sandbox's parent: keeps the workers. Reads no byte of a model or of a request; what a worker says is hostile.

It loads TensorFlow's library, which was verified by hash, makes itself undumpable, and forks. A process that is forked
from a loaded library answers in a fraction of the time that a fresh one needs.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Final

from . import kernel
from .announcement import Announcement, DescriptorAnnouncement, FileAnnouncement
from .aside import Aside
from .back_off import BackOff
from .capi import TensorFlow
from .control import Control
from .duty import Duty
from .errand import Errand
from .incidents import Incident, Incidents, Kind
from .keepsake import hand_over
from .listener import Listener
from .probe import Task, break_outs, exhaustion
from .quarantine import Fingerprint, Quarantine
from .settings import ServeSettings
from .suspicion import Suspicion
from .worker_process import Death, WorkerProcess

__all__ = ["EXIT_LOAD_FAILED", "Parent"]

EXIT_LOAD_FAILED: Final = 3
_TICK_S: Final = 0.05
_IDLE_S: Final = 60.0
_AUDIT_LIMIT_S: Final = 90.0
_HAND_OVER_LIMIT_S: Final = 10.0
LANE: Final = "lane"
ASIDE: Final = "aside"
CONTROL: Final = "control"


class Parent:
    """All workers of one model, and two more that are made when they are needed: the retry lane, and one for observers.

    Who was in flight beside a culprit is asked again in the lane, alone. So the request that ends the lane's worker is
    the culprit, and is not run again. What observers ask meets none of the users' requests: neither in a queue nor,
    should it end its worker, in that.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._workers: list[WorkerProcess] = []
        self._announced = False
        self._draining = False
        self._incidents = Incidents()
        self._suspicion = Suspicion()
        self._back_off = BackOff(settings.most_deaths_a_minute)
        self._probe = Errand(_AUDIT_LIMIT_S)
        self._hand_over = Errand(_HAND_OVER_LIMIT_S)

    def run(self) -> int:
        """Keeps the workers until SIGTERM, or until the model turns out not to load; gives the exit code."""
        kernel.make_undumpable()
        self._announcement = self._chosen_announcement()
        self._listen_to_signals()
        self._quarantine = Quarantine()
        handed_in = self._settings.listen_fds
        self._control = Control(
            self._listener_of(CONTROL, handed_in[-1:]),
            answers={b"s": self._state, b"r": self._release},
            takers={b"a": self._let_probe, b"x": self._let_exhaust, b"k": self._let_hand_over},
        )
        self._tensorflow = TensorFlow.load(self._settings.bundle)
        self._lane = self._place(LANE, self._listener_of(LANE, handed_in[-3:-2]), Duty.ALONE)
        self._aside = Aside(
            self._place(ASIDE, self._listener_of(ASIDE, handed_in[-2:-1]), Duty.ASIDE),
            lambda: (*self._workers, self._lane),
            self._settings,
            _say,
        )
        gc.collect()
        gc.freeze()  # the workers share these pages as long as no collector writes on them
        try:
            return self._keep()
        finally:
            self._announcement.withdraw()
            self._control.close()
            for place in self._places:
                place.close()

    @property
    def _places(self) -> tuple[WorkerProcess, ...]:
        return *self._workers, self._lane, self._aside.place

    def _keep(self) -> int:
        while True:
            if self._draining:
                if not any(place.alive for place in self._places):
                    return 0
                for place in self._places:
                    place.terminate()
            else:
                self._start_what_is_missing()
            self._wait()
            for place in self._places:
                place.kill_if_late()
            for errand in (self._probe, self._hand_over):
                errand.kill_if_late()
            if not self._reap():
                return EXIT_LOAD_FAILED

    def _start_what_is_missing(self) -> None:
        pausing = self._back_off.left_s > 0
        for worker in self._workers:
            if worker.alive and worker.turns_away is not pausing and worker.loaded:
                worker.terminate()
            if worker.may_start:
                self._start(worker, pausing)
        for place in (self._lane, self._aside.place):
            if place.idle_s > _IDLE_S or place.is_to_open:
                place.terminate()
        self._aside.make_room()
        if not self._announced and all(worker.loaded for worker in self._workers):
            self._grow_or_announce()

    def _start(self, worker: WorkerProcess, pausing: bool) -> None:
        if pausing:
            worker.start_turning_away(self._back_off.why, self._back_off.left_s)
        else:
            worker.start()

    def _wait(self) -> None:
        """Until somebody says something, a signal comes, or it is time to look at the clock."""
        waited_for = [self._wakeup.fileno(), *self._control.descriptors]
        waited_for += [number for place in self._places for number in place.descriptors]
        starting = {self._lane: self._lane.start, self._aside.place: self._aside.start}
        startable = [place for place in starting if self._announced and not self._draining and place.may_start]
        waited_for += [place.callers for place in startable]
        readable, _, _ = select.select(waited_for, [], [], _TICK_S)
        if self._wakeup.fileno() in readable:
            self._wakeup.recv(4096)
        for place in startable:
            if place.callers in readable:
                starting[place]()
        self._control.attend()
        for place in self._places:
            if place.alive:
                place.listen()

    def _reap(self) -> bool:
        """Buries the dead; False when the model turned out not to load and never did before."""
        for errand in (self._probe, self._hand_over):
            errand.reap()
        ended: list[tuple[WorkerProcess, int]] = []
        for place in self._places:
            if not place.alive:
                continue
            pid, status = os.waitpid(place.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                place.kill_stopped()
            elif pid:
                ended.append((place, os.waitstatus_to_exitcode(status)))
        busy = [place for place in self._places if place.busy] if ended else []  # before anyone is buried
        for place, exit_code in ended:
            line, death = place.buried(exit_code)
            _say(f"worker {place.name} {line}")
            if death is not None and not self._draining:
                self._take_note(place, death, beside=any(other is not place for other in busy))
            if place.load_failure and not (self._announced or self._draining):
                _say(f"load failed: {place.load_failure}")
                return False
        return True

    def _take_note(self, place: WorkerProcess, death: Death, *, beside: bool) -> None:
        """Convicts who died alone, and stops running a model whose workers die too often."""
        kind = Kind.STATE_LOST if place.changes_state else Kind.DIED
        if death.alone is not None and self._is_to_blame(death.alone, death, beside=beside):
            kind = Kind.QUARANTINED
        incident = self._record(kind, place.name, death.cause, death.alone, death.lines)
        if death.keepsake is not None:
            self._incidents.keep(incident, death.keepsake)
        if place is self._aside.place:
            self._aside.back_off.note_death()
        elif self._back_off.note_death():
            self._record(Kind.BACKING_OFF, place.name, f"not run for {self._back_off.left_s:.0f} s", None, ())

    def _is_to_blame(self, request: Fingerprint, death: Death, *, beside: bool) -> bool:
        """Whether a request has ended the worker that ran it, and not the kernel or a person for another's fault."""
        return not death.from_outside or self._suspicion.convicts(request, beside=beside)

    def _record(
        self, kind: Kind, worker: str, cause: str, fingerprint: Fingerprint | None, lines: Sequence[str]
    ) -> Incident:
        incident = self._incidents.record(kind, worker, cause, fingerprint=fingerprint, lines=lines)
        if kind is Kind.QUARANTINED and fingerprint is not None:
            self._quarantine.add(fingerprint, incident.name)
        _say(f"incident {incident.name}: {kind.value}: {cause}")
        return incident

    def _state(self) -> Mapping[str, Any]:
        """What the orchestrator can ask: how the workers are, and what has gone wrong."""
        return {
            "workers": sum(worker.alive and worker.loaded and not worker.turns_away for worker in self._workers),
            "backing_off_s": self._back_off.left_s,
            "quarantined": len(self._quarantine),
            "counts": {kind.name.lower(): count for kind, count in self._incidents.counts.items()},
            "incidents": self._incidents.written(),
        }

    def _release(self) -> Mapping[str, Any]:
        """Lets everything in again that is in quarantine."""
        released = len(self._quarantine)
        self._quarantine.release()
        self._suspicion.clear()
        _say(f"{released} requests were released from quarantine")
        return {"released": released}

    def _let_probe(self, listener: socket.socket) -> None:
        """An audit: what must not work is tried, by a process that no caller reaches."""
        self._start_probe("an audit tries what must not work", break_outs(self._settings), listener)

    def _let_exhaust(self, listener: socket.socket) -> None:
        """Where nobody is served: what has a limit is used up."""
        if self._settings.exhaust:
            self._start_probe("an audit uses up what has a limit", exhaustion(self._settings), listener)

    def _start_probe(self, what: str, task: Task, listener: socket.socket) -> None:
        """Who asks while another audit is at work gets nothing."""
        self._probe.reap()
        if self._probe.alive:
            return
        _say(what)
        _send(self._probe, task, listener)

    def _let_hand_over(self, listener: socket.socket) -> None:
        """The requests that have been kept; who asks while another is being told gets none."""
        self._hand_over.reap()
        if self._hand_over.alive:
            return
        kept = self._incidents.kept
        descriptors = (keepsake.descriptor for _, keepsake in kept)
        _send(self._hand_over, lambda stream: hand_over(kept, stream), listener, *descriptors)

    def _grow_or_announce(self) -> None:
        """Starts the first worker, the others once it has loaded, and announces it when all have."""
        changes_state = bool(self._workers) and self._workers[0].changes_state
        wanted = 1 if changes_state else self._settings.workers
        if len(self._workers) < wanted:
            index = len(self._workers)
            listener = self._listener_of(f"worker-{index}", self._settings.listen_fds[index : index + 1])
            self._workers.append(self._place(str(index), listener))
            self._workers[-1].start()
            return
        if changes_state:
            _say("this model changes state: one worker, no retry")
        self._announced = True
        self._announcement.make(wanted, changes_state, self._tensorflow.version)
        _say(f"serving {self._settings.name} version {self._settings.model_version}, workers: {wanted}")

    def _place(self, name: str, listener: Listener, duty: Duty = Duty.USERS) -> WorkerProcess:
        return WorkerProcess(name, self._settings, self._tensorflow, listener, self._quarantine, duty=duty)

    def _listener_of(self, name: str, handed_in: Sequence[int]) -> Listener:
        """The one that was handed in for it, else one that is bound here."""
        if handed_in:
            return Listener.inherited(handed_in[0])
        return Listener.bound(self._settings.sockets / f"{name}.sock")

    def _chosen_announcement(self) -> Announcement:
        if self._settings.ready_fd is not None:
            return DescriptorAnnouncement(self._settings.ready_fd)
        return FileAnnouncement(self._settings.sockets / "ready.json")

    def _listen_to_signals(self) -> None:
        self._wakeup, writer = socket.socketpair()
        self._wakeup.setblocking(False)
        writer.setblocking(False)
        self._wakeup_writer = writer  # kept, or it would be closed
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)  # waking up is all it is for
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._drain)

    def _drain(self, _signal: int, _frame: FrameType | None) -> None:
        """Only takes note: the loop does the rest, so that no worker is forked behind its back."""
        self._draining = True


def _send(errand: Errand, run: Task, listener: socket.socket, *kept: int) -> None:
    """Who asks where no further process can be made gets nothing."""
    try:
        errand.start(run, listener, *kept)
    except OSError as refused:
        _say(f"no process for it: {refused}")


def _say(text: str) -> None:
    print(f"[parent] {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is the log
