"""`python -I images/runtime …`, and the same in an image, where this folder is `/opt/stopgap/app`."""

import sys

from stopgap_runtime.__main__ import main

sys.exit(main())
