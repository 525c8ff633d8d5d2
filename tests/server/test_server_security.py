"""What attacks come to nothing; docs/server.md lists them."""

from __future__ import annotations

import hmac
import json
import logging
import os
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import anyio
import pytest

from support.farm_servers import BEARER, TOKEN, FarmServer, serving
from support.jobs import job
from support.workers import Answer, answer_while_sending, wait_until
from tailrace import FarmServerError, connect
from tailrace._api.place import kept_token, make_token, token_file
from tailrace.server import ServerSettings

VIEW = "a-token-to-look"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmServer]:
    """A farm with both tokens."""
    settings = {"view_token": VIEW, "allowed_hosts": ["farm.example"], "max_body": 1000, "body_timeout": 0.5}
    with serving(tmp_path_factory.mktemp("farm"), settings=settings) as running:
        yield running


def paths_of(server: FarmServer) -> list[tuple[str, str]]:
    """Return the method and the path of all that can be asked for, but for the page and what begins a session."""
    known = [(one.method, f"/api/v1{one.path}") for one in server.app.endpoints]
    more = [("GET", "/metrics"), ("GET", "/api/v1/openapi.json"), ("GET", "/no/such/thing")]
    filled = [(method, path.replace("{job_id}", "x").replace("{chunk_id}", "0")) for method, path in known + more]
    assert len(filled) > 25
    return [one for one in filled if one != ("POST", "/api/v1/session")]


def cookie_of(server: FarmServer, token: str = TOKEN) -> str:
    """Return the cookie that a browser gets for a token."""
    answer = server.send("POST", "/api/v1/session", json.dumps({"token": token}), JSON)
    assert answer.status == 200
    return str(answer.headers["Set-Cookie"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer \xff"},
        {"Authorization": "Bearer"},
        {"Cookie": f"token={TOKEN}; tailrace=x"},
        {"Cookie": "=;;\x01"},
    ],
)
def test_without_the_token_nothing_is_told(server: FarmServer, headers: dict[str, str]) -> None:
    for method, path in paths_of(server):
        answer = server.send(method, path, headers=headers)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), (method, path)


def test_a_token_in_an_address_counts_for_nothing_and_is_not_logged(
    server: FarmServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tailrace.server"):
        for name in ("token", "access_token", "authorization"):
            assert server.send("GET", f"/api/v1/jobs?{name}={TOKEN}", headers={}).status == 401
        assert server.send("GET", "/api/v1/jobs").status == 200
        # A line is written once the answer is, and of the test before one may come late.
        wanted = ["127.0.0.1 GET /api/v1/jobs 401"] * 3 + ["127.0.0.1 GET /api/v1/jobs 200"]
        wait_until(lambda: [line.rpartition(",")[0] for line in caplog.messages][-4:] == wanted)
    assert TOKEN not in caplog.text


def test_a_path_cannot_write_lines_into_the_log(server: FarmServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tailrace.server"):
        server.send("GET", "/a%0Atailrace:%20all%20is%20well%1b[31m")
        wait_until(lambda: any("all is well" in line for line in caplog.messages))
    assert [line for line in caplog.messages if len(line.splitlines()) > 1] == []
    assert "\x1b" not in caplog.text


def test_tokens_are_compared_in_constant_time(server: FarmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(told: bytes, right: bytes) -> bool:
        compared.append(told)
        return told == right

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert server.send("GET", "/api/v1/jobs").status == 200
    assert server.send("GET", "/api/v1/jobs", headers={"Authorization": "Bearer x"}).status == 401
    # With both tokens each time, whichever is right.
    assert compared == [TOKEN.encode()] * 2 + [b"x"] * 2


def test_a_cookie_stands_for_the_token_and_is_out_of_reach_of_pages(server: FarmServer) -> None:
    cookie, *attributes = cookie_of(server).split("; ")
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Strict"]
    # It is not the token, and does not tell it.
    assert TOKEN not in cookie
    assert server.send("GET", "/api/v1/session", headers={"Cookie": cookie}).json() == {"canChange": True}
    assert server.send("GET", "/api/v1/session", headers={"Authorization": f"Bearer {cookie}"}).status == 401
    forgotten = server.send("DELETE", "/api/v1/session").headers.get_all("Set-Cookie")
    assert forgotten is not None and all("Max-Age=0" in one for one in forgotten)


def test_a_wrong_token_gets_no_cookie(server: FarmServer) -> None:
    answer = server.send("POST", "/api/v1/session", json.dumps({"token": "wrong"}), JSON)
    assert (answer.status, answer.headers["Set-Cookie"]) == (401, None)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "https://evil.example:443",
        "x",
        "http://[::1",
        "http://farm.example@evil.example",
    ],
)
def test_pages_of_others_are_not_answered(server: FarmServer, origin: str) -> None:
    (cookie, *_) = cookie_of(server).split("; ")
    for credentials in (BEARER, {"Cookie": cookie}):
        for method, path in (("GET", "/api/v1/jobs"), ("POST", "/api/v1/jobs/x/cancel"), ("OPTIONS", "/api/v1/jobs")):
            answer = server.send(method, path, headers={"Origin": origin, **credentials})
            assert answer.status == 403
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_with_a_cookie_only_the_servers_own_page_changes_something(server: FarmServer) -> None:
    (cookie, *_) = cookie_of(server).split("; ")
    own = {"Origin": server.url}
    path = "/api/v1/jobs/x/cancel"
    assert server.send("POST", path, headers={"Cookie": cookie}).status == 403
    assert server.send("POST", path, headers={"Cookie": cookie, **own}).status == 404
    assert server.send("GET", "/api/v1/jobs", headers={"Cookie": cookie}).status == 200


def test_a_page_at_another_port_of_an_allowed_host_is_not_answered(server: FarmServer) -> None:
    # A proxy may have dropped the port of the host that the browser asked.
    own = {"Origin": "https://farm.example:8443", "Host": "farm.example", **BEARER}
    for site, status in (("same-origin", 200), ("same-site", 403), ("cross-site", 403)):
        assert server.send("GET", "/api/v1/jobs", headers={**own, "Sec-Fetch-Site": site}).status == status


def test_cookies_of_other_servers_of_the_machine_are_not_in_the_way(server: FarmServer) -> None:
    (cookie, *_) = cookie_of(server).split("; ")
    for others in ('theme={"dark": true}', "a b=c", "=", "a", 'x="', "\xff=\xfe"):
        for header in (f"{others}; {cookie}", f"{cookie};{others}"):
            assert server.send("GET", "/api/v1/jobs", headers={"Cookie": header}).status == 200


def test_a_cookie_that_takes_long_to_read_holds_up_nobody(server: FarmServer) -> None:
    began = time.monotonic()
    for value in ("\\" * 50_000, '\\"' * 25_000):
        assert server.send("GET", "/api/v1/jobs", headers={"Cookie": f'a="{value}"'}).status == 401
    assert time.monotonic() - began < 2


def test_a_form_of_another_page_is_no_request(server: FarmServer) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        answer = server.send("POST", "/api/v1/jobs/x/pause", '{"now": true}', BEARER | {"Content-Type": kind})
        assert answer.status == 415


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("evil.example:{port}", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
        ("[::1", 421),
        ("127.0.0.1:{port}", 200),
        ("localhost", 200),
        ("LocalHost.:{port}", 200),
        ("[::1]:{port}", 200),
        ("farm.example", 200),
        (socket.gethostname(), 200),
    ],
)
def test_a_name_that_leads_here_and_is_not_the_servers_is_refused(server: FarmServer, host: str, status: int) -> None:
    host = host.format(port=server.port)
    assert server.send("GET", "/api/v1/jobs", headers=BEARER | {"Host": host}).status == status


def test_who_may_look_changes_nothing(server: FarmServer) -> None:
    headers = {"Authorization": f"Bearer {VIEW}"}
    (cookie, *_) = cookie_of(server, VIEW).split("; ")
    assert server.send("GET", "/api/v1/session", headers={"Cookie": cookie}).json() == {"canChange": False}
    for method, path in paths_of(server):
        if "wait" in path or "output" in path or path.endswith(("/events", "/drain", "/resume")) or method == "GET":
            continue
        for credentials in (headers, {"Cookie": cookie, "Origin": server.url}):
            assert server.send(method, path, "{}", credentials | JSON).status == 403, (method, path)
    assert server.send("POST", "/api/v1/nodes/drain", headers=headers).status == 403
    assert server.send("GET", "/api/v1/jobs", headers=headers).status == 200
    assert server.send("GET", "/metrics", headers=headers).status == 200


def test_a_client_that_may_only_look_is_told_so(server: FarmServer) -> None:
    async def ask() -> None:
        async with connect(server.url, VIEW) as farm:
            assert await farm.list() == []
            with pytest.raises(FarmServerError, match="this token allows to look") as raised:
                await farm.submit(job("true"))
            assert raised.value.status == 403
        with pytest.raises(FarmServerError, match=f"{server.url} does not take the token") as raised:
            await connect(server.url, "wrong").list()
        assert raised.value.status == 401

    anyio.run(ask)


def test_a_refusal_arrives_though_its_request_still_comes(server: FarmServer) -> None:
    head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {VIEW}\r\n".encode()
    assert b"allows to look" in answer_while_sending(server.port, head)


@pytest.mark.parametrize(("asked", "status"), [(b"POST /api/v1/jobs", b"401"), (b"GET /healthz", b"200")])
def test_what_follows_an_answer_and_is_no_http_is_told_to_nobody(
    server: FarmServer, caplog: pytest.LogCaptureFixture, asked: bytes, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(asked + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert connection.recv(2**16).startswith(b"HTTP/1.1 " + status)
        connection.sendall(b"no length\r\n")
        with suppress(ConnectionResetError):
            while connection.recv(2**16):
                pass
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def exchange(server: FarmServer, sent: bytes) -> bytes:
    """Send bytes, and return what comes until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(2**16):
            received += part
        return received


HEAD = f"POST /api/v1/jobs/x/pause HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@pytest.mark.parametrize("length", [b"1001", b"9" * 30, b"9" * 5000])
def test_a_body_that_is_too_large_is_refused_unread(server: FarmServer, length: bytes) -> None:
    assert b" 413 " in exchange(server, HEAD + b"Content-Length: " + length + b"\r\n\r\n").partition(b"\r\n")[0] or (
        # The library refuses what is no length.
        len(length) > 20
    )


def test_of_somebody_without_a_token_little_is_read(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        for size, status in ((2**14 - 100, 401), (2**14, 413)):
            answer = server.send("POST", "/api/v1/session", json.dumps({"token": "x" * size}), JSON)
            assert answer.status == status


def test_a_body_without_end_is_refused(server: FarmServer) -> None:
    chunk = b"400\r\n" + b" " * 0x400 + b"\r\n"
    assert b" 413 " in exchange(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk).partition(b"\r\n")[0]


def test_a_body_that_does_not_come_is_given_up(server: FarmServer) -> None:
    began = time.monotonic()
    assert b" 408 " in exchange(server, HEAD + b"Content-Length: 10\r\n\r\n{").partition(b"\r\n")[0]
    # By itself it is 30 s.
    assert time.monotonic() - began < 20


def test_connections_that_bring_no_request_shut_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.worker._http_server._PATIENCE", 0.3)
    with serving(tmp_path) as server, ExitStack() as stack:
        for sent in (b"", b"GET /api/v1/jobs HTTP/1.1\r\nHost:"):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            connection.sendall(sent)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert server.send("GET", "/api/v1/jobs").status == 200


def test_a_body_that_is_nested_without_end_is_refused(server: FarmServer) -> None:
    answer = server.send("POST", "/api/v1/jobs/x/pause", "[" * 900, BEARER | JSON)
    assert answer.status == 422


def test_what_a_render_wrote_is_never_taken_for_a_page(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        spec = job("printf '<script>alert(1)</script>' >&2", job_id="<b>")
        body = json.dumps({"spec": json.loads(spec.model_dump_json(by_alias=True)), "comment": "<img src=x>"})
        job_id = server.send("POST", "/api/v1/jobs", body, BEARER | JSON).json()["id"]
        server.send("GET", f"/api/v1/jobs/{job_id}/wait?seconds=20")
        log = server.send("GET", f"/api/v1/jobs/{job_id}/chunks/0/log")
        found = server.send("GET", f"/api/v1/jobs/{job_id}")
    assert log.body == b"<script>alert(1)</script>"
    assert log.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert found.headers["Content-Type"] == "application/json"
    for answer in (log, found):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
        assert (answer.headers["Cross-Origin-Resource-Policy"], answer.headers["Cache-Control"]) == (
            "same-origin",
            "no-store",
        )


@pytest.mark.parametrize("stream", ["../../farm.db", "stderr.log/../../x", "*"])
def test_no_address_leads_to_other_files_than_logs(server: FarmServer, stream: str) -> None:
    assert server.send("GET", f"/api/v1/jobs/x/chunks/0/log?stream={stream}").status == 422
    for path in ("/api/v1/jobs/..%2F..%2Fetc/chunks/0/log", "/api/v1/jobs/%2E%2E/chunks/0/log", "/../etc/passwd"):
        assert server.send("GET", path).status == 404


def test_a_client_that_takes_nothing_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.server._streams._PATIENCE", 0.5)
    with serving(tmp_path) as server, socket.socket() as reader:
        # Before it is connected, to be small.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(f"GET /api/v1/events?output=true HTTP/1.1\r\nHost: localhost\r\n{bearer()}\r\n\r\n".encode())
        assert reader.recv(12) == b"HTTP/1.1 200"
        spec = job("for n in 1 2 3 4 5 6 7 8 9; do head -c 900000 /dev/zero | tr '\\0' x; sleep 0.1; done")
        body = json.dumps({"spec": json.loads(spec.model_dump_json(by_alias=True))})
        job_id = server.send("POST", "/api/v1/jobs", body, BEARER | JSON).json()["id"]
        assert server.send("GET", f"/api/v1/jobs/{job_id}/wait?seconds=20").json()["state"] == "completed"
        deadline = time.monotonic() + 10
        # The connection itself is for the system to give up.
        while server.server.server_state.tasks and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.server.server_state.tasks


def bearer() -> str:
    return f"Authorization: Bearer {TOKEN}"


def test_what_a_stranger_says_of_a_proxy_does_not_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    body = json.dumps({"token": TOKEN})
    for settings, host, is_secure in (
        ({}, "127.0.0.1", False),
        ({"trusted_proxies": ["127.0.0.1"]}, "203.0.113.9", True),
    ):
        caplog.clear()
        with caplog.at_level(logging.INFO, "tailrace.server"), serving(tmp_path, settings=settings) as server:
            cookie = server.send("POST", "/api/v1/session", body, JSON | said).headers["Set-Cookie"]
        assert ("; Secure" in cookie) is is_secure
        assert caplog.records[0].getMessage().startswith(f"{host} POST")


def test_a_server_with_a_certificate_speaks_https_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    settings = {"tls_cert": str(certificate), "tls_key": str(key)}
    with serving(tmp_path, settings=settings) as server:
        context = ssl.create_default_context(cafile=str(certificate))
        connection = HTTPSConnection("127.0.0.1", server.port, context=context, timeout=20)
        connection.request("POST", "/api/v1/session", json.dumps({"token": TOKEN}), JSON)
        assert "; Secure" in (connection.getresponse().headers["Set-Cookie"] or "")
        connection.close()
        with pytest.raises((ConnectionError, OSError)):
            server.send("GET", "/healthz")
        url = server.url.replace("http:", "https:")
        with pytest.raises(FarmServerError, match=r"its certificate is not trusted: self.signed certificate; SSL_CERT"):
            anyio.run(connect(url, TOKEN).list)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert anyio.run(connect(url, TOKEN).list) == []
    with (
        pytest.raises(ValueError, match="the certificate or its key cannot be used"),
        serving(tmp_path, settings={"tls_cert": str(key), "tls_key": str(tmp_path / "missing")}),
    ):
        pass


def test_the_token_that_a_server_makes_is_its_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = token_file(8089)
    old = os.umask(0)
    try:
        token = make_token(path)
    finally:
        os.umask(old)
    assert len(token) >= 43
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert make_token(path) == token == kept_token("http://127.0.0.1:8089") == kept_token("http://localhost:8089/")
    path.chmod(0o640)
    with pytest.raises(ValueError, match="can be read by others: delete it"):
        make_token(path)
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="should be a file with the server's token, and is none: delete it"):
        make_token(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="should be a file with the server's token, and is none: delete it"):
        make_token(path)


def test_a_user_without_a_home_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(ValueError, match="there is no home folder for the server's token: set XDG_STATE_HOME"):
        token_file(8089)
    assert kept_token("http://127.0.0.1:8089") is None


@pytest.mark.parametrize("url", ["http://10.0.0.1:8089", "http://localhost.evil.example:8089", "http://[::2]:8089"])
def test_the_token_of_this_machine_goes_to_no_other(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    make_token(token_file(8089))
    assert kept_token(url) is None


def test_settings_that_would_let_anybody_in_are_refused() -> None:
    for token, view in (("", None), (" ", None), ("a b\n", None), ("ä", None), ("a", "a"), ("a", "")):
        with pytest.raises(ValueError, match="token"):
            ServerSettings(token, view_token=view)
    for names, told in (
        ({"allowed_hosts": ["http://farm.example"]}, "a name alone"),
        ({"allowed_hosts": ["farm.example:8089"]}, "a name alone"),
        ({"allowed_hosts": [""]}, "a name alone"),
        ({"trusted_proxies": ["proxy"]}, "the address of a machine or a network"),
        ({"trusted_proxies": ["*"]}, "the address of a machine or a network"),
    ):
        with pytest.raises(ValueError, match=told):
            ServerSettings("a", **names)  # type: ignore[arg-type]
    ServerSettings("a", allowed_hosts=["farm.example", "farm"], trusted_proxies=["10.0.0.1", "10.0.0.0/8", "::1"])
    assert "secret" not in repr(ServerSettings("secret-1", view_token="secret-2"))


def test_an_error_of_the_server_tells_nothing_of_it(server: FarmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr("tailrace._farm.manager.JobManager.list", fail)
    answer: Answer = server.send("GET", "/api/v1/jobs")
    assert (answer.status, answer.message) == (500, "something went wrong in the server: its log says what")


def test_a_connection_has_no_other_protocol(server: FarmServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"}
    connection.request("GET", "/api/v1/events", headers=upgrade)
    assert connection.getresponse().status == 401
    connection.close()
