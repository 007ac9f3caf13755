# syntax=docker/dockerfile:1
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md ./
RUN python -m venv /opt/router \
 && /opt/router/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY routing_rules routing_rules
COPY classifiers classifiers
COPY router router
RUN /opt/router/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/router/bin/pip uninstall -y pip

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin router \
 && install -d -o router -g router -m 0700 /data
COPY --from=build /opt/router /opt/router
ENV PATH=/opt/router/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ROUTER_DATA_DIR=/data \
    ROUTER_HOST=0.0.0.0 \
    ROUTER_PORT=8080
USER router
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["router", "health"]
ENTRYPOINT ["router"]
CMD ["serve"]
