"""The options that say where chunks run: one line for each mistake, and the environment instead of the command line."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import tailrace
from support.jobs import job
from support.raw_server import Request, answer, serving
from tailrace._cli.root import cli

URL = "http://127.0.0.1:9"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Return the file of a job of one chunk."""
    path = tmp_path / "job.json"
    path.write_text(job("exit 4").model_dump_json(by_alias=True))
    return path


def run(spec: Path | str, *options: str, **environment: str) -> Result:
    """Run a job by the command line."""
    return CliRunner().invoke(cli, ["job", "run", str(spec), *options], env=environment)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--adapter", "http"], "--adapter http needs --url (or TAILRACE_URL)"),
        (["--adapter", "gcp"], "--adapter gcp needs --url (or TAILRACE_URL)"),
        (["--adapter", "aws"], "--adapter aws needs --function (or TAILRACE_FUNCTION)"),
        (["--url", URL], "--url goes with --adapter gcp or http, not local"),
        (["--streaming"], "--streaming goes with --adapter aws or gcp or http, not local"),
        (["--adapter", "http", "--url", URL, "--function", "f"], "--function goes with --adapter aws, not http"),
        (["--adapter", "aws", "--function", "f", "--url", URL], "--url goes with --adapter gcp or http, not aws"),
        (["--adapter", "gcp", "--url", URL, "--token-env", "T"], "--token-env goes with --adapter http, not gcp"),
        (["--adapter", "http", "--url", URL, "--slot-env", "A=1"], "--slot-env goes with --adapter local, not http"),
        (["--adapter", "http", "--url", URL, "--token-env", "NONE"], "there is no variable NONE, or it is empty"),
        (["--adapter", "http", "--url", "http:/?sig=SIG"], "expected the http(s) URL of a worker, not 'http:/'"),
        (["--no-merge", "--merge-timeout", "5"], "--merge-timeout is for the merge: use it without --no-merge,"),
        (["--chunk", "0", "--merge-timeout", "5"], "--merge-timeout is for the merge: use it without --no-merge,"),
        (["--slot-env", "TAILRACE_SLOT=1"], "--slot-env TAILRACE_SLOT would hide the number of the slot: use another"),
        (["--adapter", "http", "--url", "worker:8080"], "expected the http(s) URL of a worker, not 'worker:8080'"),
    ],
)
def test_what_does_not_go_together_is_told(options: list[str], message: str, spec: Path) -> None:
    result = run(spec, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_workers_signature_is_not_in_the_command_for_what_is_missing(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 4})) as server:
        options = ["--adapter", "http", "--url", f"{server.url}?sig=SIGSIG"]
        monkeypatch.setattr(sys, "argv", ["tailrace", "job", "run", str(spec), *options])
        result = run(spec, *options)
    assert result.exit_code == 1
    told = capfd.readouterr().err
    assert "SIGSIG" not in result.output + told
    assert f"--url '{server.url}?…'\n" in told
    assert told.endswith("tailrace: fill in the secrets there, which are shown as …\n")


@pytest.mark.parametrize("is_trusted", [False, True])
def test_a_success_without_an_exit_code_needs_trust(is_trusted: bool, spec: Path) -> None:
    with serving(lambda connection, _: answer(connection, {"output": "all"})) as server:
        result = run(spec, "--adapter", "http", "--url", server.url, *(["--trust-2xx"] if is_trusted else []))
    assert result.exit_code == (0 if is_trusted else 1), result.output


def test_the_token_goes_into_the_header_that_the_worker_looks_at(spec: Path) -> None:
    where = ["--adapter", "http", "--token-header", "x-functions-key"]
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        result = run(spec, *where, "--url", server.url, TAILRACE_TOKEN="s3cret")
    assert result.exit_code == 0, result.output
    [request] = server.requests
    assert request.headers["x-functions-key"] == "s3cret"
    assert "authorization" not in request.headers
    result = run(spec, *where, "--url", server.url)
    assert (result.exit_code, "--token-header needs a token" in result.stderr) == (2, True)


def test_an_adapter_without_its_extra_names_the_command(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tailrace._remote.http_transport", raising=False)
    monkeypatch.delattr(tailrace, "_http_transport", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)
    result = run(spec, "--adapter", "http", "--url", URL)
    assert result.exit_code == 2
    assert "pip install 'tailrace[http]'" in result.stderr


@pytest.mark.parametrize("is_given", [False, True], ids=["default", "given"])
def test_the_environment_says_what_the_command_line_does_not(is_given: bool, spec: Path) -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        answer(connection, {"exitCode": 0})

    with serving(respond) as server:
        result = run(
            spec,
            TAILRACE_ADAPTER="http",
            TAILRACE_URL=server.url,
            TAILRACE_TOKEN="secret",
            TAILRACE_STREAMING="1",
            # Meant for another adapter.
            TAILRACE_REGION="eu-north-1",
            **({"TAILRACE_JOB_DEF_URL": "jobs/shot.json"} if is_given else {}),
        )
    assert result.exit_code == 0, result.output
    [request] = server.requests
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["accept"] == "application/vnd.tailrace.frames"
    assert request.json()["jobPath"] == ("jobs/shot.json" if is_given else str(spec))


def test_a_spec_from_the_web_is_read_there_by_the_worker_too(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def respond(connection: socket.socket, request: Request) -> None:
        answer(connection, json.loads(spec.read_text()) if request.method == "GET" else {"exitCode": 0})

    # Its record is kept in the current folder.
    monkeypatch.chdir(spec.parent)
    with serving(respond) as server:
        source = f"http://127.0.0.1:{server.port}/job.json?signature=x"
        result = run(source, "--adapter", "http", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert server.requests[-1].json()["jobPath"] == source


def test_what_is_said_of_a_spec_from_the_web_leaves_out_its_signature(spec: Path) -> None:
    with serving(lambda connection, _: answer(connection, json.loads(spec.read_text()))) as server:
        source = f"http://127.0.0.1:{server.port}/job.json?signature=SIGSIG"
        valid = CliRunner().invoke(cli, ["job", "validate", source])
        without_chunk = run(source, "--chunk", "9")
    assert valid.output.startswith(f"http://127.0.0.1:{server.port}/job.json: job job-1")
    assert f"http://127.0.0.1:{server.port}/job.json has no chunk 9" in without_chunk.output


def test_a_spec_that_is_no_file_needs_an_address(spec: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, spec.read_bytes())
    os.close(writer)
    result = run(f"/dev/fd/{reader}", "--adapter", "http", "--url", URL)
    os.close(reader)
    assert result.exit_code == 2
    assert "is no file that a worker could read: give --job-def-url" in result.stderr


def test_the_merge_does_not_inherit_the_token(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    path = tmp_path / "job.json"
    path.write_text(job("true", merge=f"env > {seen}").model_dump_json(by_alias=True))
    for name, options in (("TAILRACE_TOKEN", []), ("FARM", ["--token-env", "FARM"])):
        with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
            result = run(path, "--adapter", "http", "--url", server.url, *options, **{name: "s3cret"})
        assert result.exit_code == 0, result.output
        assert server.requests[0].headers["authorization"] == "Bearer s3cret"
        assert "s3cret" not in seen.read_text()


def test_a_token_that_is_masked_can_be_used(spec: Path) -> None:
    with serving(lambda connection, _: answer(connection, {"exitCode": 0, "stdout": "s3cret-token"})) as server:
        where = ["--adapter", "http", "--url", server.url, "--mask-env", "TAILRACE_TOKEN"]
        result = run(spec, *where, TAILRACE_TOKEN="s3cret-token")
    assert result.exit_code == 0, result.output
    assert "s3cret" not in result.output
