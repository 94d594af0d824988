# syntax=docker/dockerfile:1
# kafka-cy in a small image: docker build -t kafka-cy . && docker run -p 9092:9092 kafka-cy
#
# Settings are variables as for the image apache/kafka (docker run -e KAFKA_NUM_PARTITIONS=3 ...), or a file that is mounted
# as /mnt/shared/config/server.properties. Clients on the host use localhost:9092, other containers CONTAINER:19092. Data is in
# /var/lib/kafka-cy; a folder of the host that is mounted there must belong to user 10001.
#
# Build arguments: EXTRAS=[otel] adds the libraries of an extra, COMMIT=$(git rev-parse HEAD) is shown by --version.

FROM python:3.12-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends \
        gcc libc6-dev zlib1g-dev liblz4-dev libzstd-dev libsnappy-dev libssl-dev && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ARG EXTRAS=""
ARG COMMIT=""
# The package and all its dependencies, as wheels; setup.py strips the debug symbols.
RUN KAFKA_CY_COMMIT="$COMMIT" pip wheel --no-cache-dir --wheel-dir /wheels ".$EXTRAS"

FROM python:3.12-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends liblz4-1 libzstd1 libsnappy1v5 libssl3 && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --home-dir /var/lib/kafka-cy --create-home kafka
# Nothing is downloaded here: the wheels of the first stage determine the versions.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index /wheels/*.whl
USER 10001
WORKDIR /var/lib/kafka-cy
VOLUME /var/lib/kafka-cy
EXPOSE 9092 19092 9404 9308
STOPSIGNAL SIGTERM
# Without --start-interval, which the podman and buildah of Debian 12 refuse. docker-compose.yml sets it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9404/ready', timeout=4)"]
ENTRYPOINT ["kafka-cy"]
CMD ["server", "--from-environment"]
