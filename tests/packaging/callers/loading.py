"""ENGINE MODEL: a zoo model, loaded by what is installed and nothing else, answers as TensorFlow 1.15 did."""

from __future__ import annotations

import sys

import stopgap

from tests import zoo

_, engine, name = sys.argv
golden = zoo.load(name)
with stopgap.load(golden.folder, engine=engine) as model:
    for case in golden.cases:
        if case.error is None:
            zoo.assert_matches(golden, case, model.signatures[case.signature](**case.inputs))
