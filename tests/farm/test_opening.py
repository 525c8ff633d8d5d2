"""What cannot be opened is told in one line, without a password."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from sqlalchemy import make_url

from support import ROOT
from support.farm_rows import opened
from support.postgres import run_sql
from tailrace._errors import RepositoryError, RepositoryUnavailableError
from tailrace._farm.repository.opening import open_repository


def message_of(where: str) -> str:
    with pytest.raises(RepositoryError) as caught, opened(where):
        pass
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:s3cret@127.0.0.1:1/farm",
        "postgres://anna@127.0.0.1:1/farm?password=s3cret",
        "postgresql://anna:s3cret@/farm?host=/nowhere",
    ],
)
def test_a_server_that_is_not_there_is_told_without_the_password(url: str) -> None:
    text = message_of(url)
    assert "s3cret" not in text
    assert text.startswith("postgresql://anna")
    assert "refused" in text or "No such file" in text


def test_a_database_that_is_not_there_is_told(postgres: str) -> None:
    assert 'database "nowhere" does not exist' in message_of(postgres.replace("/postgres?", "/nowhere?"))


def test_a_url_that_cannot_be_read_is_told_without_its_password() -> None:
    with pytest.raises(RepositoryError, match="cannot be read") as caught:
        open_repository("postgresql://anna:s3cret@host:port/farm")
    assert "s3cret" not in str(caught.value)


def test_another_kind_of_url_is_refused() -> None:
    with pytest.raises(RepositoryError, match="not a mysql:// one"):
        open_repository("mysql://host/farm")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert message_of(str(missing / "farm.db")).endswith(f"cannot be made: there is no folder {missing}")


def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    path.write_text("a shopping list " * 100)
    assert "file is not a database" in message_of(str(path))
    assert path.read_text() == "a shopping list " * 100


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tailrace._farm.repository.sql_repository")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ImportError, match=r"needs sqlalchemy.*: pip install 'tailrace\[farm\]'"):
        open_repository("farm.db")


@pytest.mark.parametrize("where", ["", ".", "folder"])
def test_a_folder_is_refused(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert message_of(where) == f"{where or '.'} is a folder; name a file in it"


def test_what_does_not_pass_by_waiting_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    path.write_text("a shopping list " * 100)
    with pytest.raises(RepositoryError, match="not a database; name another file") as caught, opened(str(path)):
        pass
    assert not isinstance(caught.value, RepositoryUnavailableError)


def test_a_user_without_the_right_to_make_a_schema_is_told_what_it_takes(postgres_url: str) -> None:
    name = f"weak_{uuid.uuid4().hex}"
    run_sql(postgres_url, f"CREATE ROLE {name} LOGIN")
    try:
        url = make_url(postgres_url).set(username=name)
        told = message_of(url.render_as_string(hide_password=False))
        assert "permission denied for database" in told
        assert told.endswith(f"GRANT CREATE ON DATABASE {url.database} TO {name}")
    finally:
        run_sql(postgres_url, f"DROP ROLE {name}")


def test_a_repository_that_is_up_to_date_is_opened_without_a_word(where: str) -> None:
    script = (
        "import logging, sys; logging.basicConfig(level=logging.INFO)\n"
        "from support.farm_rows import opened\n"
        "with opened(sys.argv[1]): pass\n"
    )
    with opened(where):
        pass
    found = subprocess.run([sys.executable, "-c", script, where], cwd=ROOT / "tests", capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
