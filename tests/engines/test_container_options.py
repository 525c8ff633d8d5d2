"""What the engines are told of a container, and what a client's words mean; no engine is needed for these."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support.jobs import job as job_of
from support.tunnel import job_command
from tailrace import DockerAdapter, WorkerJob, WorkerSpawnError
from tailrace._cli.root import cli
from tailrace._engines.containers.engine import Engine, _is_left_behind, new_name
from tailrace._engines.containers.run_options import run_options, variables

_REFUSED = [
    *("--detach", "--detach=false", "--tty", "--interactive", "--attach=stdout", "--name=a", "--rm=false"),
    *("--log-driver=json-file", "--init", "--pid=host", "--entrypoint=/bin/sh", "--restart=always"),
]


def told(
    job: WorkerJob, *, is_podman: bool = False, options: tuple[str, ...] = (), volumes: tuple[str, ...] = ()
) -> list[str]:
    shared = Path("/shared")
    return run_options(job, shared, name="n", image="image", is_podman=is_podman, options=options, volumes=volumes)


def with_needs(needs: dict[str, float], **fields: Any) -> WorkerJob:
    return WorkerJob("render", meta={"needs": needs}, **fields)


def test_the_command_comes_behind_the_image_and_the_user_s_options_behind_ours() -> None:
    words = told(WorkerJob("render", ["--frame", "1"], kill_grace=1.5), options=("--network=host", "--cpus=1"))
    assert words[-4:] == ["1500", "render", "--frame", "1"]
    assert words[-7:-4] == ["--cpus=1", "--entrypoint=/.tailrace/init", "image"]
    assert "--rm" in words


@pytest.mark.parametrize("options", [("--network=host",), ("--network", "host"), ("--net=host",), ("--net", "host")])
def test_there_is_no_network_unless_it_is_asked_for(options: tuple[str, ...]) -> None:
    assert "--network=none" in told(WorkerJob("render"))
    assert "--network=none" in told(WorkerJob("render"), options=("--network-alias=x",))
    assert "--network=none" not in told(WorkerJob("render"), options=options)


def test_needs_are_limits() -> None:
    words = told(with_needs({"cpus": 1.5, "memory": 2**30, "nuke_i": 1}))
    assert {"--cpus=1.5", f"--memory={2**30}", f"--memory-swap={2**30}"} <= set(words)
    unlimited = told(with_needs({"cpus": 0}))
    assert [word for word in unlimited if word.startswith(("--cpus", "--memory", "--gpus"))] == []


def test_gpus_are_those_that_the_chunk_was_given_and_have_numbers_of_their_own_inside() -> None:
    job = with_needs({"gpus": 2}, env={"CUDA_VISIBLE_DEVICES": "1,3", "OWN": "x"})
    assert '--gpus="device=1,3"' in told(job)
    assert {"--device=nvidia.com/gpu=1", "--device=nvidia.com/gpu=3"} <= set(told(job, is_podman=True))
    assert "--gpus=2" in told(with_needs({"gpus": 2}))
    assert variables(job).keys() == {"PWD", "OWN"}
    # A chunk without the need is told to see none.
    assert variables(WorkerJob("render", env={"CUDA_VISIBLE_DEVICES": ""}))["CUDA_VISIBLE_DEVICES"] == ""


def test_a_folder_with_any_name_is_mounted_where_it_is_and_where_links_lead(tmp_path: Path) -> None:
    folder = tmp_path / 'a, "b":c'
    folder.mkdir()
    link = tmp_path / "link"
    link.symlink_to(folder)
    words = told(WorkerJob("render", cwd=link))
    source = '"source=' + str(folder).replace('"', '""') + '"'
    mounts = [word for word in words if source in word]
    assert len(mounts) == 2
    assert mounts[1].endswith(f'"target={link}"')
    assert f"--workdir={folder}" in words
    assert variables(WorkerJob("render", cwd=link))["PWD"] == str(folder)


def test_podman_does_not_hand_on_this_machine_s_proxies() -> None:
    assert "--http-proxy=false" in told(WorkerJob("render"), is_podman=True)
    assert "--http-proxy=false" not in told(WorkerJob("render"))


def test_variables_stand_in_no_command_line() -> None:
    assert "secret" not in " ".join(told(WorkerJob("render", env={"LICENCE": "secret"})))


def test_a_name_tells_whether_its_owner_is_gone() -> None:
    name = new_name()
    assert not _is_left_behind(name)
    pid = str(os.getpid())
    place, rest = name.split(f"-{pid}-")
    assert _is_left_behind(f"{place}-{pid}-1{rest}")
    assert _is_left_behind(f"{place}-99999999-{rest}")
    # Of another machine, of before it was started, and of somebody else.
    assert not _is_left_behind(f"tailrace-0-0-99999999-{rest}")
    assert not _is_left_behind("tailrace-database")
    assert not _is_left_behind("")


@pytest.mark.parametrize(
    "reason",
    [
        "docker: Cannot connect to the Docker daemon at unix:///run/docker.sock. Is the docker daemon running?",
        'error during connect: Get "http://run/docker.sock/v1.49": EOF',
        "error waiting for container: unexpected EOF",
    ],
)
def test_a_client_without_a_daemon_is_told_apart(reason: str) -> None:
    assert Engine("docker", "image").is_lost(reason)
    assert not Engine("docker", "image").is_lost("docker: Error response from daemon: No such image: connectome:1")


@pytest.mark.anyio
async def test_a_program_that_is_not_installed_is_told_with_the_remedy(tmp_path: Path) -> None:
    adapter = DockerAdapter("image", engine="no-such-engine")
    with pytest.raises(WorkerSpawnError, match="no-such-engine is not installed, or not in the PATH: install it"):
        await adapter.execute(WorkerJob("render", cwd=tmp_path))
    with pytest.raises(WorkerSpawnError, match="no-such-engine is not installed"):
        async with adapter:
            pass
    with pytest.raises(WorkerSpawnError, match="there is no folder /no/such/folder"):
        await adapter.execute(WorkerJob("render", cwd="/no/such/folder"))


@pytest.mark.anyio
@pytest.mark.parametrize(("missing", "there"), [("docker", "podman"), ("podman", "docker")])
async def test_where_the_other_engine_is_there_it_is_named(
    missing: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / there).write_text("#!/bin/sh\n")
    (tmp_path / there).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        WorkerSpawnError, match=f"{missing} is not installed.*: but {there} is: .*--docker-engine {there}"
    ):
        await DockerAdapter("image", engine=missing).execute(WorkerJob("render", cwd=tmp_path))


@pytest.mark.parametrize("option", ["-d", "-t", "-dt", "-it", "-Pt", "-a", "-qd=false", *_REFUSED])
def test_options_that_take_a_container_out_of_our_hands_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=rf"options must not have {option}: .* \(leave --[a-z-]+ out\)$"):
        DockerAdapter("image", options=["--network=host", option])


@pytest.mark.parametrize(
    "option", ["-v/data:/data", "-eA=editor", "-u1:1", "-hnode", "--net=host", "-P", "--detach-keys=a"]
)
def test_other_options_are_the_user_s_affair(option: str) -> None:
    DockerAdapter("image", options=[option])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"image": ""}, ValueError),
        ({"image": "--privileged"}, ValueError),
        ({"image": "a", "engine": ""}, ValueError),
        ({"image": "a", "options": "--privileged"}, TypeError),
        ({"image": "a", "options": ["host"]}, ValueError),
        ({"image": "a", "options": ["-"]}, ValueError),
        ({"image": "a", "volumes": [1]}, TypeError),
        ({"image": "a", "volumes": ["assets:/assets"]}, ValueError),
    ],
)
def test_what_cannot_be_used_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        DockerAdapter(**arguments)


def test_the_command_line_wants_an_image(tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(job_of("render").model_dump_json(by_alias=True))
    unset = {"TAILRACE_DOCKER_IMAGE": None}
    ran = CliRunner().invoke(cli, ["job", "run", str(spec), "--adapter", "docker"], env=unset)
    assert ran.exit_code == 2
    assert "--adapter docker needs --docker-image (or TAILRACE_DOCKER_IMAGE)" in ran.output


def test_programs_of_an_image_are_not_looked_for_here(tmp_path: Path) -> None:
    spec = job_of("true").model_copy(update={"merge_command": "no-such-merge"})
    chunk = spec.chunks[0].model_copy(update={"command": "no-such-renderer -i /no/such/scene"})
    text = spec.model_copy(update={"chunks": (chunk,)}).model_dump_json(by_alias=True)
    (tmp_path / "job.json").write_text(text)
    engine = ["--docker-image", "image", "--docker-engine", "no-such-engine"]
    command = job_command(tmp_path, "--adapter", "docker", *engine)
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr
    assert "no-such-engine is not installed" in ran.stderr
    assert "in the PATH, and" not in ran.stderr
