# syntax=docker/dockerfile:1
# Both stages are Debian with Debian's own Python: tests/packaging runs these very steps in a debootstrap of the same release.
FROM debian:bookworm-slim AS build
# A fixed version would keep security updates out, and would be gone from the archive with the next of them.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/router
WORKDIR /src
COPY requirements.lock ./
RUN /opt/router/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml ./
COPY routing_rules routing_rules
COPY classifiers classifiers
COPY router router
RUN /opt/router/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/router/bin/python -c 'from classifiers.assess import warm_up; warm_up()' \
 && /opt/router/bin/pip uninstall -y setuptools pip

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 router \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin router \
 && install -d -o router -g router -m 0700 /data
COPY --from=build /opt/router /opt/router
ENV PATH=/opt/router/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ROUTER_DATA_DIR=/data \
    ROUTER_HOST=0.0.0.0 \
    ROUTER_PORT=8080
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["router", "health"]
ENTRYPOINT ["router"]
CMD ["serve"]
