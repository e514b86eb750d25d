"""The job: options in, graph built, runner started. `python run_pipeline.py --help` explains the options."""

import sys

try:
    from dealmail.pipeline.main import main
except ModuleNotFoundError as error:
    sys.exit(f"run_pipeline.py: no module {error.name} here: `make setup`, then `.venv/bin/python run_pipeline.py`")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
