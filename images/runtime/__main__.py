"""`python -I images/runtime …`, and the same in an image, where this folder is `/opt/stopgap/app`."""

import os
import signal
import sys

# As a container's first process this one has no default for SIGTERM: without a handler the kernel drops it. Nothing is
# open yet that wants closing, and libraries that are half loaded do not survive Python's own way out.
signal.signal(signal.SIGTERM, lambda _signal, _frame: os._exit(0))

# Read by libraries when they are loaded, so set before any is: NumPy's BLAS would start threads that a fork loses,
# and TensorFlow would log what it does, not only what goes wrong.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
# tf.contrib.ffmpeg looks for its program here, and aborts where there is no PATH at all; an empty one is enough.
os.environ.setdefault("PATH", "")

from stopgap_runtime.__main__ import main  # noqa: E402 - see above

code = main()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # TensorFlow has threads that outlive its destructors: the ordinary way out is, seldom, a SIGSEGV
