"""The unit and the compose file start the command as it is, and the programs for them find no fault with them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import click
import pytest

from support import ROOT
from tailrace._cli.commands.serve_farm import serve_farm

FOLDER = ROOT / "examples" / "server"


def options_of(words: list[str]) -> None:
    """Read the words as the command does. Raises `click.UsageError`."""
    assert words[:1] == ["serve"]
    # Without running it.
    context = click.Context(serve_farm)
    serve_farm.parse_args(context, words[1:])


def test_the_unit_starts_the_server() -> None:
    text = (FOLDER / "tailrace.service").read_text()
    (line,) = re.findall(r"^ExecStart=\S+/tailrace (.*)$", text, flags=re.MULTILINE)
    options_of(shlex.split(line))


def test_the_compose_file_starts_the_server() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    command = text.partition("command:\n")[2].partition("environment:")[0]
    options_of(re.findall(r"- (\S+)$", command, flags=re.MULTILINE)[1:])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_no_fault_with_the_unit() -> None:
    command = ["systemd-analyze", "verify", "--man=no", str(FOLDER / "tailrace.service")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    # The program is where nothing is installed here.
    faults = [line for line in finished.stderr.splitlines() if "tailrace" in line and "not executable" not in line]
    assert faults == []
