"""The files of a farm's page: few, their own, and nobody else's."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from support.farm_servers import BEARER, serving

_FOLDER = files("tailrace.server") / "page"
_NAMES = sorted(entry.name for entry in _FOLDER.iterdir())


def test_anybody_gets_the_page_and_it_may_run_nothing_but_its_own(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        answer = server.send("GET", "/", headers={})
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        for name in _NAMES:
            path = "/" if name == "index.html" else f"/page/{name}"
            found = server.send("GET", path, headers={})
            assert found.body == (_FOLDER / name).read_bytes()
            assert found.headers["Content-Security-Policy"] == policy


def test_a_file_of_the_page_is_sent_once_and_looked_after(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        first = server.send("GET", "/page/main.js", headers={})
        again = server.send("GET", "/page/main.js", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
        other = server.send("GET", "/page/main.js", headers={"If-None-Match": '"of another version"'})
        assert other.body == first.body


def test_nothing_else_is_given_as_a_part_of_the_page(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        for path in ("/page/index.html", "/page/../_app.py", "/page/%2e%2e/_app.py", "/page/", "/page/nothing.js"):
            assert server.send("GET", path, headers={}).status == 401
            assert server.send("GET", path, headers=BEARER).status == 404
        assert server.send("POST", "/", "{}", headers={}).status == 405


def test_the_page_is_small_and_asks_nobody_else() -> None:
    texts = {name: (_FOLDER / name).read_text(encoding="utf-8") for name in _NAMES}
    texts["report.css"] = (files("tailrace.report") / "page.css").read_text(encoding="utf-8")
    assert sum(len(text.encode()) for text in texts.values()) < 250_000
    for name, text in texts.items():
        # The name of a space is no address, and a comment is not followed.
        code = re.sub(r"^\s*//.*$", "", text.replace("http://www.w3.org/2000/svg", ""), flags=re.MULTILINE)
        assert re.findall(r"(?:https?:)?//[\w-]+\.[\w.]+", code) == [], name
        for named in re.findall(r"""(?:from|import|src=|href=) ?["'](?:\./|/page/)([\w.]+)["']""", text):
            assert named in texts, f"{name} names {named}"
