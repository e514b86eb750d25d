# One image is launcher and worker: the same locked versions on both sides. Build: docker build -t dealmail .
FROM python:3.11-slim AS base

# Beam's worker entry point; for Dataflow the image is given as --sdk_container_image (with --sdk_location=container), and for Flink
# it is started beside the TaskManagers (docs/running.md).
COPY --from=apache/beam_python3.11_sdk:2.77.0 /opt/apache/beam /opt/apache/beam

WORKDIR /opt/dealmail
# The lock without what only developers need.
COPY requirements/image.txt requirements/image.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/image.txt

COPY pyproject.toml setup.py README.md LICENSE run_pipeline.py ./
COPY pipeline/ pipeline/
COPY transforms/ transforms/
COPY io/ io/
COPY sandbox/ sandbox/
COPY console/ console/
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && pip check

RUN useradd --create-home --uid 1000 dealmail
USER dealmail
# Beam's boot program makes a virtual environment below /opt/apache for each worker, where this user may not write, and gives up.
# None is needed: what a worker needs is installed above.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
WORKDIR /home/dealmail

# The entry point is Beam's, so that Dataflow and Flink can start workers from this image as it is. The two commands:
#   docker run --entrypoint python dealmail /opt/dealmail/run_pipeline.py --database=...
#   docker run --entrypoint dealmail dealmail status
ENTRYPOINT ["/opt/apache/beam/boot"]
