"""The server that a competent person writes in an afternoon: TensorFlow 1.15 on Python 3.7 behind grpcio.

It is what people have without stopgap, so it is written for speed as far as an afternoon goes: the signature is looked
up once, the session is made callable once, and a pool of threads answers. Run by `handwritten.py` in an environment of
its own: `python handwritten_server.py MODEL PORT`.
"""

from __future__ import annotations

import sys
from concurrent import futures

import grpc
import tensorflow as tf
import tensorflow.contrib.resampler
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # no types there
    """One model's `serving_default`."""

    def __init__(self, model: str) -> None:
        self._session = tf.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta_graph = tf.saved_model.load(self._session, ["serve"], model)
        signature = meta_graph.signature_def["serving_default"]
        self._inputs = sorted(signature.inputs)
        self._outputs = sorted(signature.outputs)
        self._run = self._session.make_callable(
            [signature.outputs[name].name for name in self._outputs],
            feed_list=[signature.inputs[name].name for name in self._inputs],
        )

    def Predict(  # noqa: N802 - gRPC's name
        self,
        request: predict_pb2.PredictRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - nor is it our choice what it takes
    ) -> predict_pb2.PredictResponse:
        """Answers one request."""
        values = self._run(*[tf.make_ndarray(request.inputs[name]) for name in self._inputs])
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        for name, value in zip(self._outputs, values):
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def main(model: str, port: str) -> None:
    """Serves until it is ended."""
    largest = 256 << 20
    options = [("grpc.max_receive_message_length", largest), ("grpc.max_send_message_length", largest)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(model), server)
    server.add_insecure_port("127.0.0.1:" + port)
    server.start()
    print("ready", flush=True)  # noqa: T201 - who started it waits for this
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
