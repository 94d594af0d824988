# syntax=docker/dockerfile:1
# kafka-cy in a small image: docker build -t kafka-cy . && docker run -p 9092:9092 kafka-cy

FROM python:3.12-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends \
        gcc g++ zlib1g-dev liblz4-dev libzstd-dev libsnappy-dev libssl-dev && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# The package and all its dependencies, as wheels.
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends liblz4-1 libzstd1 libsnappy1v5 libssl3 && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --home-dir /var/lib/kafka-cy --create-home kafka
# The wheels determine the versions; nothing is downloaded here.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links=/wheels kafka-cy
COPY monitoring/compose/server.properties /etc/kafka-cy/server.properties
USER 10001
WORKDIR /var/lib/kafka-cy
VOLUME /var/lib/kafka-cy
EXPOSE 9092 9404 9308
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9404/ready', timeout=4)"]
ENTRYPOINT ["kafka-cy"]
CMD ["server", "/etc/kafka-cy/server.properties"]
