"""TensorFlow's C API through ctypes: types that cannot be mixed up, errors that carry codes, memory that is freed."""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stopgap_protos.graph_pb2 import OpList
from stopgap_protos.tensor_pb2 import DataType
from stopgap_runtime import op_registry
from stopgap_runtime.capi import (
    IN_CALLERS_THREAD,
    Buffer,
    Bundle,
    Session,
    TensorFlow,
    TensorFlowError,
    in_pool,
    strings,
)
from stopgap_runtime.capi.binding import GraphPointer
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.host_tensor import ELEMENT, HostTensor, array_of, dtype_name, of_array, zeros

from tests import zoo
from tests.graphs import NEVER_ENDS, counting_loop

TENSORFLOWS = pytest.mark.parametrize("which", ["legacy_tensorflow", "modern_tensorflow"])


@pytest.fixture
def tensorflow(request: pytest.FixtureRequest, which: str) -> TensorFlow:
    loaded: TensorFlow = request.getfixturevalue(which)
    return loaded


@pytest.fixture
def loop(legacy_tensorflow: TensorFlow, tmp_path: Path) -> Iterator[Session]:
    """Counts to its input, one step after the other."""
    model = counting_loop(tmp_path / "model")
    session = legacy_tensorflow.load_model(model, ["serve"], threads=2, timeout_s=30)
    yield session
    session.close()


def count(loop: Session, limit: int, options: Buffer) -> int:
    outputs = loop.run(
        loop.endpoints(["limit:0"]), [of_array(np.array(limit, np.int64))], loop.endpoints(["exit"]), options
    )
    return int(array_of(outputs[0]))


@TENSORFLOWS
def test_each_library_says_the_version_that_its_bundle_promises(tensorflow: TensorFlow) -> None:
    assert tensorflow.version == tensorflow.bundle.tensorflow


def test_a_graph_where_a_session_is_due_is_an_error_and_not_a_crash(legacy_tensorflow: TensorFlow) -> None:
    with pytest.raises(ctypes.ArgumentError):
        legacy_tensorflow._functions.delete_session(GraphPointer())  # type: ignore[arg-type]  # the point of it


def test_an_error_carries_tensorflows_code_and_text(legacy_tensorflow: TensorFlow, tmp_path: Path) -> None:
    with pytest.raises(TensorFlowError) as failed:
        legacy_tensorflow.load_model(tmp_path, ["serve"], threads=1, timeout_s=5)
    assert failed.value.code == Code.NOT_FOUND
    assert "SavedModel" in failed.value.text


def test_an_op_library_that_is_none_is_an_error(legacy_tensorflow: TensorFlow) -> None:
    with pytest.raises(TensorFlowError) as failed:
        legacy_tensorflow.load_op_library(Path(__file__))
    assert failed.value.code == Code.NOT_FOUND


def test_an_op_library_can_be_loaded_twice(legacy_tensorflow: TensorFlow) -> None:
    library = next(path for path in legacy_tensorflow.bundle.op_libraries if path.name == "_resampler_ops.so")
    for _ in range(2):
        assert {op.name for op in legacy_tensorflow.load_op_library(library).op} == {"Resampler", "ResamplerGrad"}


@pytest.mark.parametrize("options", [IN_CALLERS_THREAD, in_pool(None), in_pool(20.0)], ids=["caller", "pool", "timed"])
def test_a_graph_runs_in_either_thread(loop: Session, options: Buffer) -> None:
    assert count(loop, 7, options) == 7


def test_a_run_in_the_pool_ends_when_its_time_is_over(loop: Session) -> None:
    started = time.monotonic()
    with pytest.raises(TensorFlowError) as failed:
        count(loop, NEVER_ENDS, in_pool(0.3))
    assert failed.value.code == Code.DEADLINE_EXCEEDED
    assert 0.2 < time.monotonic() - started < 10
    assert count(loop, 3, in_pool(None)) == 3


def test_other_python_threads_work_while_a_graph_runs(loop: Session) -> None:
    """Were the interpreter's lock held, this thread would count nothing until the run is over."""
    done = threading.Event()

    def run() -> None:
        with pytest.raises(TensorFlowError):
            count(loop, NEVER_ENDS, in_pool(0.5))
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    turns = 0
    while not done.wait(0.001):
        turns += 1
    thread.join()
    assert turns > 50


def test_several_threads_run_one_session_at_once(loop: Session) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda limit=limit: answers.append(count(loop, limit, IN_CALLERS_THREAD)))
        for limit in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(8))


@pytest.mark.parametrize("name", ["nobody:0", "exit:1", "exit:x", "", ":0", "^exit"])
def test_a_tensor_that_the_graph_does_not_have_is_an_error(loop: Session, name: str) -> None:
    with pytest.raises(Fault) as refused:
        loop.endpoints([name])
    assert refused.value.code == Code.INVALID_ARGUMENT


def test_a_dtype_that_does_not_fit_is_tensorflows_own_error(loop: Session) -> None:
    with pytest.raises(TensorFlowError) as failed:
        loop.run(loop.endpoints(["limit:0"]), [zeros(DataType.DT_FLOAT, ())], loop.endpoints(["exit"]), in_pool(5))
    assert failed.value.code == Code.INVALID_ARGUMENT


def test_a_session_is_freed_with_its_last_reference(legacy_tensorflow: TensorFlow) -> None:
    model = zoo.load("zero_initializer_in_graph")
    for library in legacy_tensorflow.bundle.op_libraries:
        if library.name == "_variable_ops.so":
            legacy_tensorflow.load_op_library(library)
    session = legacy_tensorflow.load_model(model.folder, ["serve"], threads=1, timeout_s=30)
    finalizer = session._finalizer
    del session
    gc.collect()
    assert not finalizer.alive


# --- Tensors across the border -------------------------------------------------------------------------------------


def there_and_back(tensorflow: TensorFlow, tensor: HostTensor) -> HostTensor:
    pointer = tensorflow._transfer.enter(tensor)
    try:
        return tensorflow._transfer.leave(pointer, tensor.dtype)
    finally:
        tensorflow._functions.delete_tensor(pointer)


@TENSORFLOWS
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (3, 2)], ids=str)
@pytest.mark.parametrize("dtype", sorted(ELEMENT), ids=dtype_name)
def test_every_dtype_goes_there_and_back(tensorflow: TensorFlow, dtype: int, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape)) * ELEMENT[dtype].itemsize
    tensor = HostTensor(dtype, shape, bytes(place % 2 for place in range(size)))
    assert there_and_back(tensorflow, tensor) == tensor


@TENSORFLOWS
@pytest.mark.parametrize("length", [0, 1, 21, 22, 23, 24, 127, 128, 300, 70_000])
def test_strings_of_every_form_go_there_and_back(tensorflow: TensorFlow, length: int) -> None:
    texts = [b"", b"\0" * length, bytes(range(256)) * (length // 256) + b"end"[: length % 256], b"x" * length]
    tensor = HostTensor(DataType.DT_STRING, (2, 2), texts)
    assert there_and_back(tensorflow, tensor) == tensor


@TENSORFLOWS
@pytest.mark.parametrize("shape", [(0,), (3, 0)], ids=str)
def test_no_strings_go_there_and_back(tensorflow: TensorFlow, shape: tuple[int, ...]) -> None:
    tensor = HostTensor(DataType.DT_STRING, shape, [])
    assert there_and_back(tensorflow, tensor) == tensor


@TENSORFLOWS
def test_strings_do_not_stay_in_memory(tensorflow: TensorFlow) -> None:
    tensor = HostTensor(DataType.DT_STRING, (1000,), [b"x" * 10_000] * 1000)
    there_and_back(tensorflow, tensor)
    before = resident_mib()
    for _ in range(40):
        there_and_back(tensorflow, tensor)
    assert resident_mib() - before < 100  # 400 if they did


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.parametrize(
    "tensor",
    [
        HostTensor(DataType.DT_FLOAT, (2,), b"1234"),
        HostTensor(DataType.DT_FLOAT, (), b""),
        HostTensor(DataType.DT_STRING, (2,), [b""]),
        HostTensor(DataType.DT_RESOURCE, (), b""),
    ],
    ids=["too short", "no scalar", "too few strings", "resource"],
)
def test_bytes_that_do_not_fit_never_reach_tensorflow(legacy_tensorflow: TensorFlow, tensor: HostTensor) -> None:
    """They would end the process."""
    with pytest.raises(Fault):
        there_and_back(legacy_tensorflow, tensor)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 7, b"\xff" * 8, b"\0" * 8, b"\0" * 8 + b"\xff" * 6, b"\0" * 8 + b"\5a"]
)
def test_a_damaged_string_table_is_a_fault(content: bytes) -> None:
    if content == b"\0" * 8:
        content += b"\x01"  # a string of one byte, and no byte
    with pytest.raises(Fault):
        strings.decode_table(content, 1)


# --- Bundles and what they register --------------------------------------------------------------------------------


def test_a_folder_that_is_no_bundle_is_a_fault(tmp_path: Path) -> None:
    for content in (None, "", "{}", "[]", '{"name": 1, "core": 5}'):
        if content is not None:
            (tmp_path / "bundle.json").write_text(content)
        with pytest.raises(Fault, match="holds no TensorFlow bundle"):
            Bundle.read(tmp_path)


def test_a_bundle_whose_library_is_not_there_is_a_fault(tmp_path: Path) -> None:
    described = {"name": "n", "tensorflow": "1.15.5", "core": ["lib/absent.so"], "op_libraries": []}
    (tmp_path / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(Fault, match="does not load") as failed:
        TensorFlow.load(tmp_path)
    assert failed.value.code == Code.FAILED_PRECONDITION


def test_the_registry_holds_every_operation_of_1_15_and_contrib(legacy_bundle: Path) -> None:
    ops = [op.name for op in OpList.FromString((legacy_bundle / "ops.pb").read_bytes()).op]
    assert len(ops) == 1504
    assert ops == sorted(ops)
    libraries = json.loads((legacy_bundle / "op_libraries.json").read_text())
    resampler = libraries["lib/contrib/resampler/python/ops/_resampler_ops.so"]
    assert resampler == {"module": "tf.contrib.resampler", "ops": ["Resampler", "ResamplerGrad"]}
    assert {op for library in libraries.values() for op in library["ops"]} <= set(ops)


def test_the_registry_is_written_whole_and_the_same_each_time(modern_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes((modern_bundle / "bundle.json").read_bytes())
    (tmp_path / "lib").symlink_to(modern_bundle / "lib")
    write = [sys.executable, "-c", f"from {op_registry.__name__} import write; import sys, pathlib; "]
    write[-1] += "write(pathlib.Path(sys.argv[1]))"
    subprocess.run([*write, str(tmp_path)], check=True, timeout=60, capture_output=True, env={"PYTHONPATH": _PATH})
    assert (tmp_path / "ops.pb").read_bytes() == (modern_bundle / "ops.pb").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.json", "lib", "op_libraries.json", "ops.pb"]


_PATH = str(Path(op_registry.__file__).parents[1])


def test_an_unreadable_registry_is_a_fault(legacy_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes((legacy_bundle / "bundle.json").read_bytes())
    with pytest.raises(Fault, match="no readable op registry"):
        op_registry.OpRegistry.read(Bundle.read(tmp_path))
