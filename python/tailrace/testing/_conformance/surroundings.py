"""Where and with what a command has to run."""

from __future__ import annotations

import os

from .command_runner import OUTPUT_FILE, CommandRunner
from .hooks import ConformanceHooks

_VALUE = "two words, 'quoted' \"twice\", $HOME `id` \\ *\nand ünïcode "


class SurroundingsConformance(ConformanceHooks):
    """A command gets its arguments, its variables and its folder."""

    async def test_arguments_arrive_unchanged(self, runner: CommandRunner) -> None:
        args = ["", "two words", "it's", '"', "$HOME", "*", "\\", "a\nb", "--", "-n", "ü", "~", ";", "#", "!"]
        result = await runner.run_script('for each; do printf "<%s>" "$each"; done', *args)
        assert result.stdout == "".join(f"<{arg}>" for arg in args)

    async def test_nothing_stands_on_the_standard_input(self, runner: CommandRunner) -> None:
        assert (await runner.run_script("cat; echo end")).stdout == "end\n"

    async def test_the_variables_of_the_job_are_set_or_quietly_left_out(self, runner: CommandRunner) -> None:
        result = await runner.run_script(
            'printf "%s|%s" "$TAILRACE_CONFORMANCE" "${TAILRACE_EMPTY-unset}"',
            env={"TAILRACE_CONFORMANCE": _VALUE, "TAILRACE_EMPTY": ""},
        )
        assert result.stdout == (f"{_VALUE}|" if runner.capabilities.honours_env else "|unset")

    async def test_the_command_has_the_other_variables_of_where_it_runs(self, runner: CommandRunner) -> None:
        result = await runner.run_script('printf "${PATH:+found}"', env={"TAILRACE_CONFORMANCE": "1"})
        assert result.stdout == "found"

    async def test_files_are_written_into_the_job_s_folder_or_quietly_elsewhere(self, runner: CommandRunner) -> None:
        folder = os.path.realpath(runner.folder)  # noqa: ASYNC240
        result = await runner.run_script(f"printf frame > {OUTPUT_FILE}; pwd -P")
        assert result.exit_code == 0
        path = runner.folder / OUTPUT_FILE
        if runner.capabilities.shares_files:
            assert path.read_text() == "frame"
        else:
            assert not path.exists()
        if runner.capabilities.shares_files and runner.capabilities.runs_any_command:
            # Else it is a folder of the worker's, from which the files come here.
            assert result.stdout == f"{folder}\n"
