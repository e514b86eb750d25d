"""The job: options in, graph built, runner started. `python run_pipeline.py --help` explains the options."""

import sys

from dealmail.pipeline.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
