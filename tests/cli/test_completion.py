"""The shell completes the words of tailrace's commands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.jobs import job

PROGRAM_FOLDER = Path(sys.executable).parent


def _run(command: list[str], cwd: Path) -> str:
    env = {**os.environ, "PATH": f"{PROGRAM_FOLDER}:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, check=True, timeout=200, text=True).stdout


def _complete_in_bash(folder: Path, *words: str) -> list[str]:
    script = f"""
        eval "$(tailrace completion bash)"
        COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}
        _tailrace_completion tailrace
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return _run(["bash", "-c", script], folder).split()


def test_bash_completes_commands_options_and_the_ids_of_chunks(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(job(*["true"] * 12).model_dump_json(by_alias=True))
    assert _complete_in_bash(tmp_path, "tailrace", "jo") == ["job"]
    assert _complete_in_bash(tmp_path, "tailrace", "job", "run", "job.json", "--keep") == ["--keep-going"]
    assert _complete_in_bash(tmp_path, "tailrace", "job", "run", "job.json", "--watch", "1") == ["1", "10", "11"]
    assert len(_complete_in_bash(tmp_path, "tailrace", "job", "run", "job.json", "--chunk", "")) == 12
    assert _complete_in_bash(tmp_path, "tailrace", "job", "run", "missing.json", "--chunk", "") == []
    assert _complete_in_bash(tmp_path, "tailrace", "job", "run", "--progress", "r") == ["redshift", "renderman"]
    assert _complete_in_bash(tmp_path, "tailrace", "job", "run", "--mask-env", "PATH") == ["PATH"]
    assert _complete_in_bash(tmp_path, "tailrace", "progress", "replay", "--renderer", "r") == ["redshift", "renderman"]


def test_bash_completes_the_renderers_that_a_job_can_be_planned_for(tmp_path: Path) -> None:
    assert _complete_in_bash(tmp_path, "tailrace", "job", "plan", "") == ["blender", "ffmpeg", "povray"]
    assert _complete_in_bash(tmp_path, "tailrace", "job", "plan", "pov") == ["povray"]
    assert _complete_in_bash(tmp_path, "tailrace", "job", "plan", "povray", "a.pov", "--chunk") == ["--chunk-size"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_tailrace(shell: str, tmp_path: Path) -> None:
    script = _run(["tailrace", "completion", shell], tmp_path)
    assert f"_TAILRACE_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is not None:
        # It says nothing, so its syntax is right.
        assert _run([shell, "-n", "-c", script], tmp_path) == ""


def test_the_shell_of_the_user_need_not_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert _run(["tailrace", "completion"], tmp_path) == _run(["tailrace", "completion", "zsh"], tmp_path)
    monkeypatch.setenv("SHELL", "/bin/dash")
    refused = subprocess.run(["tailrace", "completion"], capture_output=True, text=True)
    assert refused.returncode == 2 and "name the shell" in refused.stderr


def test_help_says_how_to_have_words_completed(tmp_path: Path) -> None:
    text = _run(["tailrace", "completion", "--help"], tmp_path)
    assert "~/.bashrc" in text
    assert "~/.zshrc" in text
    assert "~/.config/fish/completions/tailrace.fish" in text
