"""ADDRESS MODEL MODULE…: imports these modules in that order; then stock messages go in and come out."""

from __future__ import annotations

import importlib
import sys

address, name, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)

import grpc  # noqa: E402 - after the modules whose order is tried
import tensorflow as tf  # noqa: E402
from stopgap.client.channel import ServingChannel  # noqa: E402
from stopgap.client.model import RemoteModel  # noqa: E402
from stopgap_protos import serving_pb2  # noqa: E402
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: E402

from tests import zoo  # noqa: E402


def request_of(case: zoo.Case) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = case.signature
    for alias, array in case.inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(array))
    return request


model = zoo.load(name)
with ServingChannel(address) as channel, grpc.insecure_channel(address) as stubs_channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(stubs_channel)
    for case in model.cases:
        if case.error is None:
            request = request_of(case)
            response = channel.predict_stock(request, timeout_s=60)
            assert isinstance(response, predict_pb2.PredictResponse)
            assert response == stub.Predict(request, timeout=60), "another answer than through the stock stub"
            outputs = {alias: tf.make_ndarray(proto) for alias, proto in response.outputs.items()}
            zoo.assert_matches(model, case, outputs)
            ours = serving_pb2.PredictRequest.FromString(request.SerializeToString())
            assert isinstance(channel.predict_stock(ours, timeout_s=60), serving_pb2.PredictResponse)
            by_arrays = RemoteModel(channel, name).predict(case.inputs, case.signature, timeout_s=60)
            zoo.assert_matches(model, case, by_arrays)
