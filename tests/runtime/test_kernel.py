"""The worker's filter, asked in processes that put it on for real: what must not work does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parents[2] / "images" / "runtime"


def confined(code: str, *, at_once: bool = True) -> str:
    """What `code` prints in a process of its own that is confined first, and has a listening socket before that.

    Args:
        at_once: False where `code` confines it itself.
    """
    preamble = "import ctypes,errno,fcntl,os,resource,signal,socket,sys,threading\n"
    preamble += "listener, other = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)\n"
    preamble += "listener.bind(''); listener.listen(); other.connect(listener.getsockname())\n"
    preamble += "from stopgap_runtime import kernel\nkernel.confine(listener.fileno())\n" if at_once else ""
    program = subprocess.run(
        [sys.executable, "-c", preamble + code],
        env={"PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    return program.stdout.strip()


def denied(statement: str) -> str:
    """The name of the errno that `statement` ends with; "allowed" if it does not."""
    return confined(
        f"try:\n    {statement}\n    print('allowed')\n"
        "except OSError as error:\n    print(errno.errorcode[error.errno])"
    )


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("socket.socket(socket.AF_INET)", "EPERM"),
        ("socket.socket(socket.AF_UNIX)", "EPERM"),
        ("socket.socket(40, socket.SOCK_STREAM)", "EPERM"),
        ("os.fork()", "EPERM"),
        ("os.execv('/bin/true', ['true'])", "EPERM"),
        ("os.kill(os.getppid(), 0)", "EPERM"),
        ("open('/tmp/stopgap-test-write', 'w')", "EACCES"),
        ("os.open('/dev/null', os.O_RDWR)", "EACCES"),
        ("os.open('/tmp', os.O_TMPFILE | os.O_WRONLY)", "EACCES"),
        ("os.unlink('/nonexistent')", "EPERM"),
        ("os.mkdir('/tmp/stopgap-test')", "EPERM"),
        ("os.symlink('a', '/tmp/stopgap-test')", "EPERM"),
        ("os.rename('/nonexistent', '/tmp/stopgap-test')", "EPERM"),
        ("os.chmod('/tmp', 0o777)", "EPERM"),
        ("os.setuid(0)", "EPERM"),
        ("os.sched_setaffinity(0, {0})", "EPERM"),
        ("resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))", "EPERM"),
        ("fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())", "EPERM"),
        ("fcntl.ioctl(0, 0x8901, b'1234')", "EPERM"),
        ("os.memfd_create('x')", "EPERM"),
        ("listener.shutdown(socket.SHUT_RDWR)", "EPERM"),
        ("listener.setblocking(False)", "EPERM"),
        ("fcntl.fcntl(listener, fcntl.F_SETFL, os.O_NONBLOCK)", "EPERM"),
        ("fcntl.fcntl(listener, fcntl.F_DUPFD, 0)", "EPERM"),
        ("listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(16))", "EPERM"),
        ("os.dup(listener.fileno())", "EPERM"),
    ],
)
def test_what_inference_does_not_need_is_refused(statement: str, error: str) -> None:
    assert denied(statement) == error


@pytest.mark.parametrize("number", [101, 310, 425, 321, 298, 272, 165], ids=str)
def test_ptrace_and_other_ways_out_are_refused(number: int) -> None:
    """ptrace, process_vm_readv, io_uring_setup, bpf, perf_event_open, unshare, mount."""
    answer = confined(
        f"libc=ctypes.CDLL(None,use_errno=True)\nprint(libc.syscall({number},0,0,0,0,0), ctypes.get_errno())"
    )
    assert answer == "-1 1"


def test_calls_whose_flags_a_filter_cannot_see_do_not_exist() -> None:
    answer = confined(
        "libc=ctypes.CDLL(None,use_errno=True)\n"
        "for n in (435, 437): print(libc.syscall(n,0,0,0), ctypes.get_errno(), end=' ')"
    )
    assert answer == "-1 38 -1 38"


def test_memory_that_is_shared_cannot_be_made_to_grow() -> None:
    """It would outlive the worker, and no limit of its own would count it."""
    answer = confined(
        "from stopgap_runtime.shared_page import SharedPage\npage = SharedPage(4096)\n"
        "from stopgap_runtime import kernel\nkernel.confine()\n"
        "page.memory[:4] = b'mine'; os.lseek(page.descriptor, 0, os.SEEK_END)\n"
        "try:\n    print(os.write(page.descriptor, bytes(1 << 20)))\n"
        "except OSError as error:\n    print(errno.errorcode[error.errno])",
        at_once=False,
    )
    assert answer == "EPERM"


def test_a_forked_process_never_gets_back_into_its_parents_frames() -> None:
    """Not even where nobody reads what it has to say of its end."""
    program = (
        "import os, sys\nfrom stopgap_runtime.birth import forked\n"
        "reader, writer = os.pipe(); os.dup2(writer, 2); os.close(writer); os.close(reader)\n"
        "def live():\n    sys.stderr.write('x' * 5000)\n    raise RuntimeError('x' * 5000)\n"
        "try:\n    pid = forked(live)\nexcept BaseException:\n    print('back')\nelse:\n"
        "    print('code', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)\n    os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "code 1\n"


def test_what_inference_needs_still_works() -> None:
    """Reading, threads, memory, the accepted end of a listening socket."""
    answer = confined(
        "t=threading.Thread(target=lambda: print(len(open('/etc/hostname').read()) >= 0, end=' '))\n"
        "t.start(); t.join(); print(len(bytearray(1 << 28)), end=' ')\n"
        "stream, _ = listener.accept(); listener.close()\n"
        "stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(16)); stream.setblocking(True)\n"
        "other.sendall(b'hello'); print(stream.recv(5)); stream.shutdown(socket.SHUT_RDWR)"
    )
    assert answer == f"True {1 << 28} b'hello'"


def limited(code: str) -> str:
    """What `code` prints in a process that may have 64 MiB more than it starts with."""
    program = subprocess.run(
        [
            sys.executable,
            "-c",
            "import mmap,resource,threading\nfrom stopgap_runtime import kernel\nkernel.limit_memory(64 << 20)\n"
            + code,
        ],
        env={"PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return program.stdout.strip()


def test_more_memory_than_a_worker_may_have_is_refused_and_less_is_not() -> None:
    assert limited("print(len(bytearray(48 << 20)))") == str(48 << 20)
    refused = "try:\n    bytearray(65 << 20)\nexcept MemoryError: print('refused')"
    assert limited(refused) == "refused"


def test_a_limit_that_was_lower_stays() -> None:
    again = "before = resource.getrlimit(resource.RLIMIT_DATA)\nkernel.limit_memory(1 << 40)\n"
    assert limited(again + "print(resource.getrlimit(resource.RLIMIT_DATA) == before)") == "True"


def test_threads_have_small_stacks_since_they_count_whole() -> None:
    """20 of them, of 2 MiB each, where most systems' 8 MiB would be more than there is."""
    counted = (
        "go = threading.Event()\nthreads = [threading.Thread(target=go.wait) for _ in range(20)]\n"
        "for thread in threads: thread.start()\nprint(threading.active_count())\ngo.set()"
    )
    assert limited(counted) == "21"


def test_every_thread_is_under_the_filter() -> None:
    """A thread that was there before the filter is filtered as well (TSYNC)."""
    program = subprocess.run(
        [
            sys.executable,
            "-c",
            "import threading\nfrom stopgap_runtime import kernel\n"
            "go=threading.Event(); t=threading.Thread(target=go.wait); t.start()\n"
            "kernel.confine()\n"
            "import os\n"
            "print([next(l for l in open(f'/proc/self/task/{i}/status') if l.startswith('Seccomp:')).split()[1]"
            " for i in os.listdir('/proc/self/task')])\ngo.set()",
        ],
        env={"PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert program.stdout.strip() == "['2', '2']"


def test_an_undumpable_process_hides_its_memory_from_its_own_uid() -> None:
    """What keeps a worker out of its parent: both have one uid in the sandbox, and neither has capabilities."""
    code = (
        "import os,sys\nfrom stopgap_runtime import kernel\n"
        "os.setgid(65534); os.setuid(65534)\nkernel.make_undumpable()\nparent=os.getpid()\n"
        "if os.fork() == 0:\n"
        "    try:\n        os.open(f'/proc/{parent}/mem', os.O_RDONLY); print('readable')\n"
        "    except PermissionError: print('refused')\n"
        "    sys.stdout.flush(); os._exit(0)\nos.wait()"
    )
    if os.geteuid() != 0:
        code = code.replace("os.setgid(65534); os.setuid(65534)\n", "")
    program = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert program.stdout.strip() == "refused"
