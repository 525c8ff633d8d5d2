"""Every Python program in the documentation runs as it stands there, and is typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from documents import BLOCKS, DOCUMENTS, Block

from support import ROOT, farm_servers, tunnel
from support.jobs import job
from support.lambda_emulator import FUNCTION, lambda_emulator
from support.metadata_server import TokenSource, variables
from support.raw_server import serving
from support.workers import running_worker
from tailrace import JobExecutionOptions, JobExecutor, LocalWorkerAdapter

PROGRAMS = [block for block in BLOCKS if block.language == "python"]

# They build on the commands of their page, with which they are run.
OF_FIRST_STEPS = "docs/first-steps.md"

# It needs a cluster, and is run with the tests that have one.
OF_RAY = "docs/ray.md"

ALONE = [block for block in PROGRAMS if block.source not in (OF_FIRST_STEPS, OF_RAY)]


class Surroundings(NamedTuple):
    """What a program finds where it runs."""

    folder: Path
    names: dict[str, str]
    """What stands here for the addresses and places of the documentation."""
    environment: dict[str, str]


def test_no_python_in_the_documentation_goes_unseen() -> None:
    fences = sum(len(re.findall(r"^\s*```+\s*py", path.read_text(), flags=re.MULTILINE)) for path in DOCUMENTS)
    assert fences == len(PROGRAMS) > 10


@pytest.mark.parametrize("program", ALONE, ids=str)
def test_the_programs_of_the_documentation_run(program: Block, tmp_path: Path) -> None:
    with surroundings_of(program, tmp_path) as there:
        text = program.text
        for name, stand_in in there.names.items():
            text = text.replace(name, stand_in)
        finished = subprocess.run(
            [sys.executable, "-W", "error", "-c", text],
            cwd=there.folder,
            env=os.environ | {"PATH": tunnel.search_path()} | there.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert finished.returncode == 0, finished.stderr
    if "print" in text:
        assert finished.stdout


def test_the_programs_of_the_documentation_are_typed(tmp_path: Path) -> None:
    files = {tmp_path / f"program_{number}.py": block for number, block in enumerate(PROGRAMS)}
    for file, block in files.items():
        file.write_text(block.text)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = checked.stdout
    for file, block in files.items():
        said = said.replace(file.name, str(block))
    assert checked.returncode == 0, said


@contextmanager
def surroundings_of(program: Block, folder: Path) -> Iterator[Surroundings]:
    """Start the workers that the program speaks to; where it names none, it finds a clone of the repository."""
    with ExitStack() as stack:
        if "AwsLambdaAdapter" in program.text:
            yield _lambda(stack, folder)
        elif "CloudRunAdapter" in program.text:
            yield _cloud_run(stack, folder)
        elif "HttpWorkerAdapter" in program.text:
            yield _workers(stack, folder)
        else:
            tunnel.small_tunnel(folder / "examples" / "tunnel")
            shutil.copytree(ROOT / "examples" / "blender", folder / "examples" / "blender")
            if "job.ndjson" in program.text or "read_log_folder" in program.text:
                options = JobExecutionOptions(log_dir=folder / "logs")
                anyio.run(JobExecutor(LocalWorkerAdapter()).execute, job("true", "true"), options)
            environment = {}
            if "connect()" in program.text:
                server = stack.enter_context(farm_servers.serving(folder))
                environment = {"TAILRACE_SERVER": server.url, "TAILRACE_SERVER_TOKEN": farm_servers.TOKEN}
            yield Surroundings(folder, {}, environment)


def _workers(stack: ExitStack, folder: Path) -> Surroundings:
    _write_shot(folder, merge="cat chunk_0 chunk_1 > whole")
    names = {"/farm/": f"{folder}/"}
    for number in (1, 2):
        worker = stack.enter_context(running_worker(folder, work_dir=folder, concurrency=2, token="TOKEN"))
        names[f"http://render-{number}:8080"] = f"http://127.0.0.1:{worker.port}"
    return Surroundings(folder, names, {})


def _cloud_run(stack: ExitStack, folder: Path) -> Surroundings:
    _write_shot(folder)
    metadata = stack.enter_context(serving(TokenSource().respond))
    worker = stack.enter_context(running_worker(folder, work_dir=folder, concurrency=2))
    service = {"https://render-chunk.europe-north1.run.app": f"http://127.0.0.1:{worker.port}"}
    return Surroundings(folder, service | {"https://files.example/": f"{folder}/"}, variables(metadata))


def _lambda(stack: ExitStack, folder: Path) -> Surroundings:
    _write_shot(folder)
    settings = {"TAILRACE_ALLOW_SPEC": str(folder), "TAILRACE_WORK_DIR": str(folder)}
    endpoint = stack.enter_context(lambda_emulator(folder / "emulator.log", **settings))
    account = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_LAMBDA": endpoint}
    # One emulator serves one invocation at a time.
    names = {'"render-chunk"': f'"{FUNCTION}"', "concurrency=100": "concurrency=1"}
    return Surroundings(folder, names | {"https://files.example/": f"{folder}/"}, account)


def _write_shot(folder: Path, *, merge: str | None = None) -> None:
    spec = job("echo frame 0; echo a > chunk_0", "echo frame 10; echo b > chunk_1", merge=merge)
    place = folder / "shot-12"
    place.mkdir()
    (place / "job.json").write_text(spec.model_dump_json(by_alias=True))
