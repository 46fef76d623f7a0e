"""ADDRESS MODEL…: every module imports, and requests made by hand are answered as TensorFlow 1.15 answered them."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import ModuleType

import stopgap
import stopgap_protos
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.requests import predict_request
from stopgap.client.tensors import to_array
from stopgap.report.needed import NEEDED
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse

from tests import zoo

BROUGHT_ALONG = {"PIL", "markupsafe"}  # by matplotlib, and by Jinja2
DRAWN = ("stopgap.report.", "stopgap.live.")
NEED_TENSORFLOW = {"stopgap.api.keras_layer", "stopgap.api.tf_calls"}


def import_all_of(package: ModuleType) -> None:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name not in NEED_TENSORFLOW and not module.name.endswith(".__main__"):
            import_or_miss_the_extra(module.name)


def import_or_miss_the_extra(name: str) -> None:
    """What draws a report or the live page needs `stopgap[report]`, and nothing else does."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not (name.startswith(DRAWN) and error.name in {*NEEDED, *BROUGHT_ALONG}):
            raise


def ask(channel: ServingChannel, name: str, case: zoo.Case) -> zoo.Arrays:
    signature = RemoteModel(channel, name).signature(case.signature, timeout_s=60)
    request = predict_request(name, signature.fit(case.inputs), signature)
    assert isinstance(request, PredictRequest)
    response = channel.predict(request, timeout_s=60)
    assert isinstance(response, PredictResponse)
    return {output: to_array(proto) for output, proto in response.outputs.items()}


import_all_of(stopgap)
import_all_of(stopgap_protos)
with ServingChannel(sys.argv[1]) as channel:
    for model in map(zoo.load, sys.argv[2:]):
        for case in model.cases:
            if case.error is None:
                zoo.assert_matches(model, case, ask(channel, model.name, case))
