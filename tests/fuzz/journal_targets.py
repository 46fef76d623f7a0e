"""What somebody else has recorded: a TFRecord's frames, compressed or not, and the PredictionLogs in them."""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from stopgap.asking.data.prediction_logs import logged_answers, logged_cases
from stopgap.asking.data.reading import Reading
from stopgap.client.dtypes import STRING, dtype_of
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.client.tensors import to_proto
from stopgap.errors import DataError, JournalError
from stopgap.journal.tfrecord import Record, framed, is_compressed, read_records
from stopgap_protos.prediction_log_pb2 import PredictionLog
from stopgap_protos.tensor_pb2 import DataType

from tests.fuzz.target import Target

__all__ = ["PREDICTION_LOG", "TFRECORD"]


def _check_tfrecord(data: bytes) -> None:
    """Records are what stands in the file; what is no whole record is damage, and told where."""
    records: list[Record] = []
    with suppress(JournalError):
        records.extend(read_records("fuzzed", stream=io.BytesIO(data)))
    if records and not is_compressed(data[:12]):
        assert b"".join(framed(record.content) for record in records) == data[: records[-1].end]
        again = list(_read(data, records[-1].offset))
        assert again[0] == records[-1]


def _read(data: bytes, start: int) -> list[Record]:
    found: list[Record] = []
    with suppress(JournalError):
        found.extend(read_records("fuzzed", start, stream=io.BytesIO(data)))
    return found


_RECORDS = framed(b"") + framed(b"one") + framed(bytes(300))

TFRECORD = Target(
    "tfrecord",
    _check_tfrecord,
    seeds=(_RECORDS, gzip.compress(_RECORDS, mtime=0), zlib.compress(_RECORDS), framed(b"x") + bytes(40)),
    tokens=(b"\x1f\x8b", b"\x78\x9c", bytes(12), framed(b""), framed(b"y"), b"\xff" * 8, gzip.compress(b"", mtime=0)),
    bytes_for_each=2200,  # zlib unfolds a byte to 1032, and a record is copied once
)


def _check_prediction_log(data: bytes) -> None:
    """As the only record of a file; the frame is made anew, or no change would ever come past its checksum."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "logs"
        file.write_bytes(framed(data))
        for reading in _READINGS:
            with suppress(DataError):
                for case in logged_cases(file, reading):
                    assert all(isinstance(array, np.ndarray) for array in case.inputs.values())
                    assert isinstance(case.signature, str)
        with suppress(DataError):
            for answer in logged_answers(file):
                assert (answer.outputs is None) is not (answer.failure is None)


_TAKES_EXAMPLES = Signature(
    "serving_default", "", {"examples": TensorSpec("examples", dtype_of(STRING), (None,))}, {}, frozenset()
)
_READINGS = (
    Reading(),
    Reading(signatures={"serving_default": _TAKES_EXAMPLES}),
    Reading(key="x", extras=frozenset({"y"})),
)


def _predict_log() -> bytes:
    log = PredictionLog()
    log.predict_log.request.model_spec.name = "m"
    for name, array in {"x": np.array([[1.5, 2]], np.float32), "y": np.array([b"a\0", b""], object)}.items():
        log.predict_log.request.inputs[name].CopyFrom(to_proto(array))
        log.predict_log.response.outputs[name].CopyFrom(to_proto(array))
    half = log.predict_log.response.outputs["half"]
    half.dtype = DataType.DT_BFLOAT16
    half.half_val.extend([0x3F80, 0xC000])
    half.tensor_shape.dim.add(size=2)
    return log.SerializeToString(deterministic=True)


def _classify_log() -> bytes:
    log = PredictionLog()
    listed = log.classify_log.request.input.example_list_with_context
    listed.context.features.feature["c"].int64_list.value.append(3)
    listed.examples.add().features.feature["f"].bytes_list.value.append(b"v")
    for label in ("a", "b"):
        log.classify_log.response.result.classifications.add().classes.add(label=label, score=0.5)
    return log.SerializeToString(deterministic=True)


def _regress_log() -> bytes:
    log = PredictionLog()
    log.regress_log.request.input.example_list.examples.add().features.feature["f"].float_list.value.append(1.5)
    log.regress_log.response.result.regressions.add(value=2.5)
    return log.SerializeToString(deterministic=True)


PREDICTION_LOG = Target(
    "prediction_log",
    _check_prediction_log,
    seeds=(_predict_log(), _classify_log(), _regress_log()),
    tokens=(b"x", b"y", b"serving_default"),
    is_protobuf=True,
    bytes_for_each=64,
    fixed_bytes=260 << 20,  # what a short list of values may stand for
)
