"""A specification comes from a file or from the web."""

from __future__ import annotations

import json
import os
import time
import traceback
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from support.jobs import spec_fields
from support.web_servers import send, serving
from tailrace import JobSpec, SpecError
from tailrace._spec import source


def _without_id() -> bytes:
    fields = spec_fields()
    del fields["id"]
    return json.dumps(fields).encode()


def test_a_file_gives_its_name_to_a_spec_without_id_and_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shot.v2.json").write_bytes(_without_id())
    monkeypatch.chdir(tmp_path)
    spec = JobSpec.load("shot.v2.json")
    assert spec.id == "shot.v2"
    assert spec.path == tmp_path / "shot.v2.json"
    assert spec.model_copy(update={"chunks": spec.chunks[:1]}).path == spec.path


def test_a_pipe_is_read_but_is_no_place_for_a_job() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(_without_id())
    try:
        assert JobSpec.load(f"/dev/fd/{reader}").path is None
    finally:
        os.close(reader)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "shot.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(spec_fields()).encode())
    assert JobSpec.load(path).id == "job-1"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.json", "No such file or directory"), (".", "Is a directory"), ("shot.json/x", "Not a directory")],
)
def test_a_file_that_cannot_be_read_is_one_line(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "shot.json").touch()
    source = f"{tmp_path}/{name}"
    with pytest.raises(SpecError) as caught:
        JobSpec.load(source)
    assert str(caught.value) == f"{source}: cannot be read: {reason}"


def test_other_kinds_of_url_are_refused() -> None:
    with pytest.raises(SpecError, match=r"^s3://bucket/job\.json: expected a file or an http\(s\) URL$"):
        JobSpec.load("s3://bucket/job.json")


def test_a_url_is_downloaded_and_gives_its_name_to_a_spec_without_id() -> None:
    with serving(lambda handler: send(handler, _without_id())) as url:
        spec = JobSpec.load(f"{url}/jobs/my%20shot.json?signature=secret")
    assert spec.id == "my shot"
    assert spec.path is None


def test_an_http_error_is_one_line_without_the_query() -> None:
    with serving(lambda handler: send(handler, b"no", status=404)) as url, pytest.raises(SpecError) as caught:
        JobSpec.load(f"{url}/a.json?signature=secret")
    assert str(caught.value) == f"{url}/a.json: the server answered 404 Not Found"


def test_a_user_in_a_url_is_refused_and_no_message_shows_it_or_the_query() -> None:
    with pytest.raises(SpecError) as caught:
        JobSpec.load("http://u:pwpwpw@127.0.0.1/x.json?sig=pwpwpw")
    assert str(caught.value) == (
        "http://127.0.0.1/x.json: must have no user name or password in it, which would not be sent:"
        " download the file first"
    )
    for url in ("http://127.0.0.1:9/a b?sig=pwpwpw", "http://127.0.0.1:9x/?sig=pwpwpw", "s3://u:pwpwpw@h/a?sig=pwpwpw"):
        with pytest.raises(SpecError) as caught:
            JobSpec.load(url)
        assert "pwpwpw" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("location", ["http://u:pwpwpw@127.0.0.1/a?sig=pwpwpw", "s3://u:pwpwpw@h/a?sig=pwpwpw"])
def test_where_a_redirect_leads_to_is_not_shown_with_its_secrets(location: str) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(redirect) as url, pytest.raises(SpecError) as caught:
        JobSpec.load(f"{url}/a.json")
    assert str(caught.value).startswith(f"{url}/a.json: ")
    assert "pwpwpw" not in "".join(traceback.format_exception(caught.value))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "shown", "marked"),
    [
        ("http://u:p@h:80/a@b?x=1?2", "http://h:80/a@b", "http://…@h:80/a@b?…"),
        ("HTTPS://u@p@h", "HTTPS://h", "HTTPS://…@h"),
        ("http://h/a//b@c?", "http://h/a//b@c", "http://h/a//b@c"),
        ("//u:p@h/a?x", "//h/a", "//…@h/a?…"),
        ("/a?x=1", "/a", "/a?…"),
    ],
)
def test_a_url_is_shown_without_its_user_and_its_query(url: str, shown: str, marked: str) -> None:
    assert source.redact_url(url) == shown
    assert source.redact_url(url, mark="…") == marked


def test_a_server_that_is_not_there_is_one_line() -> None:
    with serving(lambda handler: send(handler, b"")) as url:
        pass
    with pytest.raises(SpecError, match=r"^http://127\.0\.0\.1:\d+/a\.json: cannot be downloaded: Connection refused$"):
        JobSpec.load(f"{url}/a.json")


def test_a_url_that_is_none_is_one_line() -> None:
    for url in ("http://", "http://[::1", "http://a b/c.json", "http://127.0.0.1:x/c.json"):
        with pytest.raises(SpecError) as caught:
            JobSpec.load(url)
        assert len(str(caught.value).splitlines()) == 1


def test_a_download_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LARGEST_SPEC", 2**20)

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" " * 2**16)
        except OSError:
            handler.close_connection = True

    with serving(flood) as url, pytest.raises(SpecError, match=r"a\.json: is larger than 1 MiB$"):
        JobSpec.load(f"{url}/a.json")


def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "HTTP_TIMEOUT", 0.5)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(600):
                handler.wfile.write(b" ")
                time.sleep(0.05)
        except OSError:
            handler.close_connection = True

    started = time.monotonic()
    with serving(drip) as url, pytest.raises(SpecError, match=r"a\.json: no answer within 0\.5 s$"):
        JobSpec.load(f"{url}/a.json")
    assert time.monotonic() - started < 10


def test_a_download_that_breaks_off_is_one_line() -> None:
    def break_off(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"{")

    with serving(break_off) as url, pytest.raises(SpecError, match=r"a\.json: ") as caught:
        JobSpec.load(f"{url}/a.json")
    assert len(str(caught.value).splitlines()) == 1
