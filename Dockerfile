# syntax=docker/dockerfile:1

# One file, three images: docker build --target api | worker-cpu | worker-gpu
#
# PyPI's torch brings CUDA along. A much smaller worker-cpu comes of PyTorch's index of CPU builds:
# docker build --target worker-cpu --build-arg PIP_EXTRA_INDEX_URL=<that index> .

FROM python:3.11-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/trainsmith
ENV PATH=/opt/trainsmith/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY app app
COPY worker worker
COPY client client
COPY migrations migrations

FROM build AS build-api
RUN pip install -c constraints.txt .

FROM build AS build-worker-cpu
ARG PIP_EXTRA_INDEX_URL
RUN pip install -c constraints.txt '.[worker]' torch==2.13.0

FROM build AS build-worker-gpu
# torch brings its own CUDA libraries; the host brings the driver.
RUN pip install -c constraints.txt '.[worker]' torch==2.13.0

FROM python:3.11-slim-trixie AS base
# The number is fixed, so that the owner of a mounted volume is known beforehand.
RUN groupadd --system --gid 8700 trainsmith \
 && useradd --system --uid 8700 --gid 8700 --home-dir /data --shell /usr/sbin/nologin trainsmith \
 && install -d -o trainsmith -g trainsmith -m 0700 /data
ENV PATH=/opt/trainsmith/bin:$PATH PYTHONUNBUFFERED=1 TRAINSMITH_HOME=/data
WORKDIR /data
VOLUME /data
USER trainsmith

FROM base AS api
COPY --from=build-api /opt/trainsmith /opt/trainsmith
EXPOSE 8700
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8700/livez', timeout=4)"]
CMD ["trainsmith-server", "api", "--host", "0.0.0.0", "--port", "8700"]

FROM base AS worker-cpu
COPY --from=build-worker-cpu /opt/trainsmith /opt/trainsmith
CMD ["trainsmith-server", "worker"]

FROM base AS worker-gpu
COPY --from=build-worker-gpu /opt/trainsmith /opt/trainsmith
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["trainsmith-server", "worker"]
