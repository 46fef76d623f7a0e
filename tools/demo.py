"""From nothing to a prediction: a contrib model that TensorFlow 2 cannot load, served contained and checked.

`make demo` runs it. It uses what a user has: the `stopgap` command and the stock `tensorflow_serving.apis` stubs.
"""

from __future__ import annotations

import json
import sys
import urllib.request

import numpy as np
from rich.table import Table

from tools.demonstration import ZOO_MODEL, chapter, console, free_port, serve, stopgap

NAME = "stopgap-demo"


def main() -> int:
    """Runs the demo and gives its exit code: 0 only when every prediction equals its golden value."""
    chapter("1. TensorFlow 2 and the model: a spatial transformer that uses tf.contrib.resampler")
    show_that_tensorflow_2_fails()
    chapter("2. One command serves it, contained")
    deployment = serve(ZOO_MODEL, NAME, free_port())
    try:
        chapter("3. Any TF Serving client gets its predictions: here the stock stubs of tensorflow-serving-api")
        equal = compare_with_golden_values(deployment["grpc"])
        ask_over_rest(deployment["rest"])
        stopgap("status", NAME)
    finally:
        chapter("4. And away with it")
        stopgap("stop", NAME)
    console.print("[green]The legacy model answers as it did in TensorFlow 1.15.[/]" if equal else "[red]Differs.[/]")
    return 0 if equal else 1


def show_that_tensorflow_2_fails() -> None:
    """Loads the model with TensorFlow 2 and prints why it cannot."""
    import tensorflow as tf  # noqa: PLC0415 - takes seconds, after the heading

    console.print(f"TensorFlow {tf.__version__}: tf.saved_model.load({ZOO_MODEL.name!r}) …")
    try:
        tf.saved_model.load(str(ZOO_MODEL / "1"))
    except (tf.errors.NotFoundError, RuntimeError) as error:
        console.print(f"[red]{type(error).__name__}: {str(error).split('. ')[0]}[/]")
    else:
        raise SystemExit("TensorFlow 2 has loaded the model: the demo has lost its point")


def compare_with_golden_values(address: str) -> bool:
    """Asks for every good golden case through the stock stubs; prints how far each output is off."""
    import grpc  # noqa: PLC0415 - after TensorFlow, which must be first to load its own protobuf
    import tensorflow as tf  # noqa: PLC0415
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: PLC0415

    model = json.loads((ZOO_MODEL / "model.json").read_text())
    golden = np.load(ZOO_MODEL / "golden.npz", allow_pickle=False)
    table = Table("case", "output", "shape", "largest difference to TensorFlow 1.15")
    worst = 0.0
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for case in (case for case in model["cases"] if "error" not in case):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = NAME
            request.model_spec.signature_name = case["signature"]
            for key in golden.files:
                if key.startswith(f"{case['name']}.in."):
                    request.inputs[key.split(".", 2)[2]].CopyFrom(tf.make_tensor_proto(golden[key]))
            outputs = stub.Predict(request, timeout=30).outputs
            for alias in sorted(outputs):
                answer, expected = tf.make_ndarray(outputs[alias]), golden[f"{case['name']}.out.{alias}"]
                same = np.isclose(answer, expected, rtol=model["rtol"], atol=model["atol"], equal_nan=True)
                difference = float(np.nanmax(np.abs(answer - expected), initial=0.0))
                worst = max(worst, difference if same.all() else np.inf)
                table.add_row(case["name"], alias, str(list(answer.shape)), f"{difference:.1e}")
    console.print(table)
    return worst < np.inf


def ask_over_rest(address: str) -> None:
    """Shows the same model's answer to a plain HTTP client."""
    golden = np.load(ZOO_MODEL / "golden.npz", allow_pickle=False)
    url = f"{address}/v1/models/{NAME}:predict"
    body = json.dumps({"instances": golden["in.image"][:1].tolist()}).encode()
    console.print(f"$ curl -d '{{\"instances\": […]}}' {url}")
    with urllib.request.urlopen(url, body, timeout=30) as answer:  # noqa: S310 - the address is our own
        prediction = json.load(answer)["predictions"][0]
    console.print(f'{{"predictions": [{{"probs": {prediction["probs"][:3]}, …')


if __name__ == "__main__":
    sys.exit(main())
