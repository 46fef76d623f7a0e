"""TensorFlow 2 in the tests' own process, which must not be the one that has TensorFlow 1.15's library.

So these tests are run by `tests/api/test_tensorflow.py`, in a process of their own; elsewhere they are not collected.
"""

from __future__ import annotations

import os

OWN_PROCESS = "STOPGAP_TESTS_TENSORFLOW"

collect_ignore_glob = [] if os.environ.get(OWN_PROCESS) else ["test_*.py"]
