"""`python -m dealmail.pipeline` is run_pipeline.py where only the package is installed."""

import sys

from .main import main

sys.exit(main(sys.argv[1:]))
