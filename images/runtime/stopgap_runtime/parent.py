"""The sandbox's parent: keeps the workers. Reads no byte of a model or of a request; what a worker says is hostile.

It loads TensorFlow's library, which was verified by hash, makes itself undumpable, and forks. A process that is forked
from a loaded library answers in a fraction of the time that a fresh one needs.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from types import FrameType
from typing import Final

from . import kernel
from .capi import TensorFlow
from .settings import ServeSettings
from .worker_process import WorkerProcess

__all__ = ["EXIT_LOAD_FAILED", "Parent"]

EXIT_LOAD_FAILED: Final = 3
_TICK_S: Final = 0.05


class Parent:
    """All workers of one model."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._ready_file = settings.sockets / "ready.json"
        self._workers: list[WorkerProcess] = []
        self._announced = False
        self._draining = False

    def run(self) -> int:
        """Keeps the workers until SIGTERM, or until the model turns out not to load; gives the exit code."""
        kernel.make_undumpable()
        self._ready_file.unlink(missing_ok=True)
        self._listen_to_signals()
        self._tensorflow = TensorFlow.load(self._settings.bundle)
        gc.collect()
        gc.freeze()  # the workers share these pages as long as no collector writes on them
        try:
            return self._keep()
        finally:
            self._ready_file.unlink(missing_ok=True)
            for worker in self._workers:
                worker.close()

    def _keep(self) -> int:
        while True:
            if self._draining:
                if not any(worker.alive for worker in self._workers):
                    return 0
                for worker in self._workers:
                    worker.terminate()
            else:
                self._start_what_is_missing()
            self._wait()
            for worker in self._workers:
                worker.kill_if_late()
            if not self._reap():
                return EXIT_LOAD_FAILED

    def _start_what_is_missing(self) -> None:
        for worker in self._workers:
            if worker.may_start:
                worker.start()
        if not self._announced and all(worker.loaded for worker in self._workers):
            self._grow_or_announce()

    def _wait(self) -> None:
        """Until a worker says something, a signal comes, or it is time to look at the clock."""
        living = [worker for worker in self._workers if worker.alive]
        waited_for = [self._wakeup.fileno(), *(number for worker in living for number in worker.descriptors)]
        readable, _, _ = select.select(waited_for, [], [], _TICK_S)
        if self._wakeup.fileno() in readable:
            self._wakeup.recv(4096)
        for worker in living:
            worker.listen()

    def _reap(self) -> bool:
        """Buries the dead; False when the model turned out not to load and never did before."""
        for worker in self._workers:
            if not worker.alive:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            _say(f"worker {worker.index} {worker.buried(os.waitstatus_to_exitcode(status))}")
            if worker.load_failure and not (self._announced or self._draining):
                _say(f"load failed: {worker.load_failure}")
                return False
        return True

    def _grow_or_announce(self) -> None:
        """Starts the first worker, the others once it has loaded, and says on disk when all have."""
        changes_state = bool(self._workers) and self._workers[0].changes_state
        wanted = 1 if changes_state else self._settings.workers
        if len(self._workers) < wanted:
            self._workers.append(WorkerProcess(len(self._workers), self._settings, self._tensorflow))
            self._workers[-1].start()
            return
        if changes_state:
            _say("this model changes state: one worker, no retry")
        self._announced = True
        ready = {"workers": wanted, "changes_state": changes_state, "tensorflow": self._tensorflow.version}
        partial = self._ready_file.with_suffix(".partial")
        partial.write_text(json.dumps(ready))
        partial.rename(self._ready_file)
        _say(f"serving {self._settings.name} version {self._settings.model_version}, workers: {wanted}")

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


def _say(text: str) -> None:
    print(f"[parent] {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is the log
