"""Attacks on a worker, and why they fail; docs/worker.md lists them."""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from support.jobs import job
from support.web_servers import send, serving
from support.workers import Answer, Worker, answer_while_sending, running_worker, wait_until
from tailrace._spec import source
from tailrace.worker import WorkerSettings, _web_source, create_app
from tailrace.worker._requests import RefusedError
from tailrace.worker._web_source import WebPrefix, is_ordinary

SPEC = job("echo rendered").model_dump_json(by_alias=True).encode()
HOST = "specs.example"


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with running_worker(tmp_path) as running:
        yield running


@pytest.fixture
def asked() -> list[str]:
    """Return the list to which `spec_server` adds what it is asked for."""
    return []


@pytest.fixture
def spec_server(asked: list[str]) -> Iterator[str]:
    """Yield the address of a server with a specification, and with redirects: /to/URL."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        if handler.path.startswith("/jobs/to/"):
            handler.send_response(302)
            handler.send_header("Location", handler.path.removeprefix("/jobs/to/"))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            send(handler, SPEC)

    with serving(respond) as address:
        yield address


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return what makes `HOST` have an address, and returns the list of the look-ups."""
    look_up = socket.getaddrinfo

    def resolve_to(address: str) -> list[str]:
        looked_up: list[str] = []

        def fake(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            if host != HOST:
                return look_up(host, port, *args, **kwargs)
            looked_up.append(host)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return [(family, socket.SOCK_STREAM, 6, "", (address, port, *((0, 0) if ":" in address else ())))]

        monkeypatch.setattr(socket, "getaddrinfo", fake)
        return looked_up

    return resolve_to


def ask(tmp_path: Path, url: str, *allowed: str, **settings: Any) -> Answer:
    """Ask a worker of its own that takes specifications from `allowed`."""
    with running_worker(tmp_path, allow_specs=allowed, **settings) as worker:
        return worker.ask(url)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file://localhost/etc/passwd",
        "ftp://127.0.0.1/job.json",
        "s3://bucket/job.json",
        "data:application/json,{}",
        "http:/etc/passwd",
    ],
)
def test_other_kinds_of_address_are_refused(address: str, worker: Worker) -> None:
    answer = worker.ask(address)
    assert answer.status == 403
    assert "root:" not in answer.message


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://[fd00:ec2::254]/latest/",
        "http://127.0.0.1/job.json",
        "http://localhost/job.json",
        "http://[::1]/job.json",
        "http://[::ffff:127.0.0.1]/job.json",
        "http://2130706433/job.json",
        "http://0x7f.1/job.json",
        "http://0/job.json",
    ],
)
def test_an_address_that_is_not_listed_is_not_asked(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_web_source, "_connect", lambda *_: pytest.fail("asked"))
    answer = ask(tmp_path, url, "https://specs.example/jobs/")
    assert answer.status == 403
    assert answer.message == f"{url} is in no place that this worker takes job specifications from (--allow-spec)"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "198.51.100.1",
    ],
)
def test_a_listed_name_must_not_lead_to_this_machine_or_a_clouds_secrets(
    address: str, tmp_path: Path, resolve: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connected"))
    resolve(address)
    with pytest.raises(RefusedError) as caught:
        _web_source.download(f"http://{HOST}/job.json", [WebPrefix.parse(f"http://{HOST}/")])
    assert caught.value.status == 403
    assert caught.value.message.startswith(f"{HOST} has the address {ipaddress.ip_address(address)}, which this")


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "2001:4860:4860::8888", "10.0.0.5", "192.168.1.9", "100.64.0.7", "fd12::5", "64:ff9b::808:808"],
)
def test_public_addresses_and_those_of_a_farms_own_network_are_asked(address: str) -> None:
    assert is_ordinary(ipaddress.ip_address(address))


def test_an_address_of_this_machine_is_asked_when_it_is_listed_itself(spec_server: str, tmp_path: Path) -> None:
    port = port_of(spec_server)
    assert ask(tmp_path, f"{spec_server}/jobs/a.json", f"{spec_server}/jobs/").json()["stdout"] == "rendered\n"
    by_name = f"http://localhost:{port}/"
    assert ask(tmp_path, f"{by_name}jobs/a.json", by_name).json()["stdout"] == "rendered\n"


def test_a_name_is_looked_up_once_and_that_very_address_is_asked(
    spec_server: str, tmp_path: Path, resolve: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = resolve("127.0.0.1")
    checked: list[str] = []

    def check(address: object) -> bool:
        checked.append(str(address))
        return True

    monkeypatch.setattr(_web_source, "is_ordinary", check)
    url = f"http://{HOST}:{port_of(spec_server)}/jobs/a.json"
    assert ask(tmp_path, url, f"http://{HOST}:{port_of(spec_server)}").json()["stdout"] == "rendered\n"
    assert (looked_up, checked) == ([HOST], ["127.0.0.1"])


@pytest.mark.parametrize(
    "target",
    [
        "http://localhost:{port}/jobs/a.json",
        "http://127.0.0.1:{port}/secret",
        "http://127.0.0.1:{port}/jobs/../secret",
        "http://127.0.0.1:{port}/jobs/%2e%2e/secret",
        "http://169.254.169.254/latest/meta-data/",
        "https://127.0.0.1:{port}/jobs/a.json",
        "file:///etc/passwd",
        "//localhost:{port}/jobs/a.json",
        "/secret",
        "../../secret",
    ],
)
def test_a_redirect_leads_nowhere_that_is_not_listed(
    target: str, spec_server: str, asked: list[str], tmp_path: Path
) -> None:
    url = f"{spec_server}/jobs/to/{target.format(port=port_of(spec_server))}"
    answer = ask(tmp_path, url, f"{spec_server}/jobs/")
    assert answer.status == 403
    assert len(asked) <= 1


def test_a_redirect_to_what_is_listed_is_followed_but_not_for_ever(
    spec_server: str, asked: list[str], tmp_path: Path
) -> None:
    assert ask(tmp_path, f"{spec_server}/jobs/to//jobs/a.json", f"{spec_server}/jobs/").status == 200
    asked.clear()
    loop = "/jobs/to/" * 20
    answer = ask(tmp_path, spec_server + loop, f"{spec_server}/jobs/")
    assert answer.status == 502
    assert answer.message.endswith("leads from one address to the next more than 5 times")
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("url", "is_covered"),
    [
        ("https://specs.example/jobs/a.json", True),
        ("https://SPECS.example:443/jobs/deep/a.json?signature=x", True),
        ("https://specs.example/jobs", True),
        ("https://specs.example/jobs%2Da.json", False),
        ("https://specs.example/jobs-secret/a.json", False),
        ("https://specs.example/jobsa.json", False),
        ("https://specs.example/", False),
        ("https://specs.example:8443/jobs/a.json", False),
        ("http://specs.example/jobs/a.json", False),
        ("https://specs.example.evil.example/jobs/a.json", False),
        ("https://evil.example/https://specs.example/jobs/a.json", False),
    ],
)
def test_a_url_is_compared_in_its_parts(url: str, is_covered: bool) -> None:
    for place in ("https://specs.example/jobs/", "https://specs.example/jobs"):
        assert WebPrefix.parse(place).covers(WebPrefix.parse(url)) is is_covered


@pytest.mark.parametrize(
    "url",
    [
        "https://specs.example@evil.example/jobs/a.json",
        "https://user:password@specs.example/jobs/a.json",
        "https://specs.example/jobs/../secret",
        "https://specs.example/jobs/%2e%2e/secret",
        "https://specs.example/jobs/.%2E/secret",
        "https://specs.example/jobs/..%2fsecret",
        "https://specs.example/jobs/..%5csecret",
        "https://specs.example\\@evil.example/jobs/a.json",
        "https://specs.example/jobs/a.json#fragment",
        "https://specs.example/jobs/a b.json",
        "https://specs.example/jobs/\na.json",
        "https://specs.example\t.evil.example/",
        "https:///jobs/a.json",
        "https://specs.example:port/a.json",
        "https://[specs.example/a.json",
    ],
)
def test_a_url_that_could_be_understood_in_two_ways_is_refused(url: str, tmp_path: Path) -> None:
    answer = ask(tmp_path, url, "https://specs.example/jobs/", "https://evil.example/")
    assert answer.status == 403


# What comes from there


def test_a_specification_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LARGEST_SPEC", 2**20)

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" " * 2**16)
        except OSError:
            handler.close_connection = True

    with serving(flood) as server:
        answer = ask(tmp_path, f"{server}/a.json", server)
    assert (answer.status, answer.message) == (502, f"{server}/a.json: is larger than 1 MiB")


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_specification_that_drips_is_given_up(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "HTTP_TIMEOUT", 0.5)
    monkeypatch.setattr(_web_source, "HTTP_TIMEOUT", 0.5)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        try:
            if where == "body":
                handler.send_response(200)
                handler.end_headers()
            for _ in range(600):
                handler.wfile.write(b" ")
                time.sleep(0.05)
        except OSError:
            handler.close_connection = True

    started = time.monotonic()
    with serving(drip) as server:
        answer = ask(tmp_path, f"{server}/a.json", server)
        assert answer.status == 502
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'{"chunks": []}', b"\xff", b"[" * 100_000])
def test_what_is_no_specification_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    with serving(lambda handler: send(handler, content)) as server:
        answer = ask(tmp_path, f"{server}/a.json?signature=secret", server)
    assert answer.status == 422
    assert answer.message.startswith(f"{server}/a.json: ")


def test_a_server_that_fails_is_told_without_the_query(tmp_path: Path) -> None:
    with serving(lambda handler: send(handler, b"no", status=404)) as server:
        answer = ask(tmp_path, f"{server}/a.json?signature=secret", server)
    assert answer.message == f"{server}/a.json: the server answered 404 Not Found"


def test_certificates_are_checked_against_the_name(
    tmp_path: Path, resolve: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    try:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"),
                *("-addext", f"subjectAltName=DNS:{HOST}", "-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.fail("this test needs openssl: `apt install openssl` installs it")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    resolve("127.0.0.1")
    monkeypatch.setattr(_web_source, "is_ordinary", lambda _: True)
    (tmp_path / "specs").mkdir()
    with serving(lambda handler: send(handler, SPEC), context) as server:
        url = f"https://{HOST}:{port_of(server)}/a.json"
        untrusted = ask(tmp_path / "specs", url, url)
        assert untrusted.status == 502
        assert "certificate" in untrusted.message
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ask(tmp_path / "specs", url, url).json()["stdout"] == "rendered\n"
        misnamed = f"https://localhost:{port_of(server)}/a.json"
        assert "Hostname mismatch" in ask(tmp_path / "specs", misnamed, misnamed).message


# Files


def test_no_name_leads_out_of_the_listed_folders(tmp_path: Path) -> None:
    for name in ("specs", "specs-secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.json").write_bytes(SPEC)
    specs = tmp_path / "specs"
    (specs / "link.json").symlink_to(tmp_path / "specs-secret" / "job.json")
    (specs / "folder").symlink_to(tmp_path / "specs-secret")
    (specs / "environ").symlink_to("/proc/self/environ")
    with running_worker(specs, work_dir=specs) as worker:
        for name in (
            "/etc/passwd",
            "/proc/self/environ",
            f"{specs}/../specs-secret/job.json",
            "../specs-secret/job.json",
            f"{tmp_path}/specs-secret/job.json",
            f"{specs}/link.json",
            "link.json",
            "folder/job.json",
            "environ",
            "missing/../../specs-secret/job.json",
            "../missing.json",
            "job.json\0",
        ):
            answer = worker.ask(name)
            assert answer.status == 403, name
            assert "in no place that this worker takes job specifications from" in answer.message
        assert worker.ask("job.json").status == 200
        assert worker.ask("../specs/job.json").status == 200
        assert worker.ask("missing.json").message == "missing.json: cannot be read: No such file or directory"


def test_only_files_are_read_and_none_of_any_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**36)
    with running_worker(tmp_path) as worker:
        for name in ("pipe", "folder"):
            answer = worker.ask(f"{tmp_path}/{name}")
            assert (answer.status, answer.message) == (403, f"{tmp_path}/{name}: is not a file")
        answer = worker.ask(f"{tmp_path}/huge")
        assert (answer.status, answer.message) == (422, f"{tmp_path}/huge: is larger than 64 MiB")
        assert worker.ask("huge").message == "jobPath should be a URL or an absolute path: 'huge'"


def test_a_file_that_is_exchanged_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("specs/deep", "secret"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "job.json").write_bytes(SPEC)
    open_file = os.open

    def exchange(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("deep/job.json"):
            (tmp_path / "specs" / "deep").rename(tmp_path / "specs" / "away")
            (tmp_path / "specs" / "deep").symlink_to(tmp_path / "secret")
        return open_file(path, *args, **kwargs)

    with running_worker(tmp_path / "specs") as worker:
        monkeypatch.setattr(os, "open", exchange)
        assert worker.ask(f"{tmp_path}/specs/deep/job.json").status == 403


# Requests


def test_a_body_of_a_gib_is_refused_unread(worker: Worker) -> None:
    with worker.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n")
        answer = read_answer(connection)
    assert (answer.status, answer.message) == (413, "the request is larger than 1048576 bytes")


def test_a_body_without_end_is_refused_after_a_mib(worker: Worker) -> None:
    sent = 0
    with worker.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < 2**30:
                connection.sendall(b"10000\r\n" + b" " * 2**16 + b"\r\n")
                sent += 2**16
        except OSError:
            pass
    # What the system buffers on the way counts too.
    assert sent < 2**26


def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    with running_worker(tmp_path, body_timeout=0.5) as worker, worker.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        answer = read_answer(connection)
        assert (answer.status, answer.message) == (408, "the request did not come within 0.5 s")


def test_a_client_that_leaves_within_its_body_is_forgotten(tmp_path: Path) -> None:
    with running_worker(tmp_path) as worker:
        with worker.connect() as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
            wait_until(lambda: worker.request_count == 1)
        wait_until(lambda: worker.request_count == 0)


def test_a_refusal_arrives_though_its_request_still_comes(tmp_path: Path) -> None:
    with running_worker(tmp_path, token="s3cret") as worker:
        answer = answer_while_sending(worker.port, b"POST / HTTP/1.1\r\nHost: a\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")


def read_answer(connection: socket.socket) -> Answer:
    with HTTPResponse(connection) as response:
        response.begin()
        return Answer(response.status, response.headers, response.read())


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer wrong", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret", "Bearer \xe9"],
)
def test_without_the_token_nothing_is_even_read(given: str | None, tmp_path: Path) -> None:
    with running_worker(tmp_path, token="s3cret") as worker:
        with worker.connect() as connection:
            header = b"" if given is None else b"Authorization: " + given.encode("latin-1") + b"\r\n"
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n" + header + b"\r\n")
            answer = read_answer(connection)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert b"s3cret" not in bytes(answer.headers) + answer.body


def test_the_token_opens_and_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def record(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", record)
    with running_worker(tmp_path, token="s3cret") as worker:
        address = worker.write_job("echo rendered")
        for scheme in ("Bearer", "bearer"):
            answer = worker.ask(address, headers={"Authorization": f"{scheme} s3cret"})
            assert answer.json()["stdout"] == "rendered\n"
        refusal = worker.ask(address, headers={"Authorization": "Bearer s3cres"})
        assert refusal.status == 401
        assert refusal.json()["message"].startswith("this is not the worker's token: ")
        assert worker.ask(address).json()["message"].startswith("a bearer token is needed: ")
    assert compared == [*[(b"s3cret", b"s3cret")] * 2, (b"s3cres", b"s3cret"), (b"", b"s3cret")]


def test_the_token_may_come_as_the_key_of_a_function(tmp_path: Path) -> None:
    with running_worker(tmp_path, token="s3cret") as worker:
        address = worker.write_job("echo rendered")
        assert worker.ask(address, headers={"x-functions-key": "s3cret"}).json()["stdout"] == "rendered\n"
        for wrong in ("s3cres", "Bearer s3cret", "\xe9"):
            assert worker.ask(address, headers={"x-functions-key": wrong}).status == 401


def test_who_may_not_ask_is_not_told_the_places_either(tmp_path: Path) -> None:
    with running_worker(tmp_path, token="s3cret", concurrency=2) as worker:
        authorized = {"Authorization": "Bearer s3cret"}
        for headers, status in (({}, 401), ({**authorized, "Origin": "http://evil.example"}, 403), (authorized, 200)):
            assert worker.send(None, headers, method="GET", path="/places").status == status


def test_web_pages_are_not_answered(worker: Worker) -> None:
    address = worker.write_job("touch started")
    answer = worker.ask(address, headers={"Origin": "http://evil.example", "Content-Type": "text/plain"})
    assert (answer.status, answer.message) == (403, "requests from web pages are not answered")
    assert not (worker.specs / "started").exists()


# Commands


@pytest.mark.parametrize("command", ["sh -c true", "/usr/bin/ffmpeg", "./ffmpeg", "FFMPEG", "env ffmpeg", "'ffmpeg '"])
def test_a_command_that_the_policy_forbids_is_not_run(command: str, tmp_path: Path) -> None:
    spec = json.loads(SPEC)
    spec["chunks"][0]["command"] = command
    (tmp_path / "job.json").write_text(json.dumps(spec))
    with running_worker(tmp_path, allow_commands=["ffmpeg", "blender"]) as worker:
        answer = worker.ask(f"{tmp_path}/job.json")
    assert answer.status == 403
    assert answer.message.startswith("the command of chunk 0 is none that this worker runs: ")


def test_a_command_that_the_policy_allows_is_run(tmp_path: Path) -> None:
    with running_worker(tmp_path, allow_commands=["sh"]) as worker:
        assert worker.ask(worker.write_job("echo rendered")).json()["stdout"] == "rendered\n"


def test_nothing_of_a_request_gets_into_the_command_or_its_environment(worker: Worker) -> None:
    address = worker.write_job('env; echo "$0 $*"')
    extra: dict[str, Any] = {
        "command": "touch started",
        "env": {"INJECTED": "1"},
        "args": ["INJECTED"],
        "cwd": "/",
        "merge": "INJECTED",
    }
    output = worker.ask(address, attemptId="INJECTED", **extra).json()["stdout"]
    assert "INJECTED" not in output
    assert "TAILRACE_SLOT=0" in output


# Answers


def test_no_error_tells_of_the_workers_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_TEST_SECRET", "the-secret-value")
    specs = tmp_path / "specs"
    specs.mkdir()
    told = []
    with running_worker(specs, work_dir=specs) as worker:
        spec = json.loads(SPEC)
        for command in ("missing", "./missing", "/missing/program", "deep/missing", "'$TAILRACE_TEST_SECRET'"):
            spec["chunks"][0]["command"] = command
            (specs / "job.json").write_text(json.dumps(spec))
            told.append(worker.ask("job.json").body)
        # An attempt that fails for a reason that nobody foresaw.
        (specs / ".tailrace" / ".attempts").rmdir()
        (specs / ".tailrace" / ".attempts").touch()
        told.append(worker.ask("job.json").body)
        told += [worker.ask(address).body for address in ("missing.json", "/etc/passwd", "http://specs.example/")]
    assert len(told) == 9
    for body in told:
        assert b"error" in body
        assert b"the-secret-value" not in body
        assert str(tmp_path).encode() not in body
        assert os.environ["PATH"].encode() not in body
        assert b"Traceback" not in body


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"allow_specs": ["missing"]}, "an allowed place should be a folder or an http(s) URL: 'missing'"),
        ({"allow_specs": ["ftp://a/"]}, "an allowed place should be a folder or an http(s) URL: 'ftp://a/'"),
        ({"allow_specs": ["http://a/../b"]}, "http://a/../b: its path should hold no '.', '..' and escaped slashes"),
        ({"allow_specs": ["http://a/?b=c"]}, "an allowed place should be a URL without a query: http://a/?..."),
        ({"token": ""}, "token must be printable ASCII, and not empty"),
        ({"token": "a\n"}, "token must be printable ASCII, and not empty"),
        ({"concurrency": 0}, "concurrency must be positive: 0"),
        ({"work_dir": "missing"}, "work_dir is not a folder: missing"),
    ],
)
def test_settings_that_cannot_be_used_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        create_app(WorkerSettings(**{"allow_specs": [], **settings}))
    assert str(caught.value) == message


def test_a_token_is_in_no_repr() -> None:
    assert "s3cret" not in repr(WorkerSettings([], token="s3cret"))


def test_a_site_local_address_is_not_ordinary() -> None:
    assert not is_ordinary(ipaddress.ip_address("fec0::1"))


def test_a_name_in_a_message_is_shortened_and_cannot_break_the_line(worker: Worker) -> None:
    for name in ("/" + "a" * 4000, "/a\r\nb\u2028c\x1b[31m"):
        message = worker.ask(name).message
        assert message.isprintable()
        assert len(message) < 1000
        assert message.endswith("(--allow-spec)")
