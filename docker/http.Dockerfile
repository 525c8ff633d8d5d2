# A worker for Cloud Run and for machines of one's own. Built at the top of the repository:
#   docker build --file docker/http.Dockerfile --tag tailrace-worker .
# The settings are environment variables: TAILRACE_ALLOW_SPEC above all. The container's arguments say who may ask:
# --no-token on Cloud Run, which checks that itself, elsewhere --token-env NAME. docs/worker.md explains them.

FROM rust:1-slim AS rust

FROM python:3.12-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH
WORKDIR /source
COPY pyproject.toml Cargo.toml Cargo.lock README.md LICENSE-MIT LICENSE-APACHE ./
COPY rust ./rust
COPY python ./python
RUN pip wheel --wheel-dir /wheels ".[worker]"

FROM python:3.12-slim
# What the commands of the jobs need goes here.
RUN apt-get update && apt-get install --yes --no-install-recommends ffmpeg tini && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl && rm -rf /wheels
RUN useradd --create-home worker
USER worker
WORKDIR /home/worker
# As the first process, tini collects what the commands leave behind.
ENTRYPOINT ["tini", "--", "tailrace", "worker", "serve", "--host", "0.0.0.0"]
