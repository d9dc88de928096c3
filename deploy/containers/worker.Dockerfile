# The worker of every cluster: Beam's Python SDK with the three packages. Build it from the root of the checkout:
#     docker build --file deploy/containers/worker.Dockerfile --tag awe-worker .
# Its entry point is Beam's boot program. The SDK and Python must be those of whoever submits.
FROM apache/beam_python3.11_sdk:2.77.0
COPY setup.py pyproject.toml README.md /awe/
COPY awe_core /awe/awe_core
COPY schemas /awe/schemas
COPY pipelines /awe/pipelines
RUN pip install --no-cache-dir "/awe[fast,aws]"
