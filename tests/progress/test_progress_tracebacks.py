"""Of a traceback the last line is the error."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.progress import FileSaved, ProgressParser, RenderError, Report, renderer_names

_SCRIPTS = {
    "ValueError: no such node: Glare.001": "def go():\n    raise ValueError('no such node: Glare.001')\ngo()",
    "RuntimeError: Error: at 50 % of Saved: '/p' we had: MemoryError": (
        "raise RuntimeError(\"Error: at 50 % of Saved: '/p' we had: MemoryError\")"
    ),
    "OSError: [Errno 28] No space left on device: '/p'": "raise OSError(28, 'No space left on device', '/p')",
    "FileNotFoundError: [Errno 2] No such file or directory: '/none'": "open('/none')",
    "MemoryError": "raise MemoryError",
    "NoCamera": "class NoCamera(Exception):\n    pass\nraise NoCamera",
    "RecursionError: maximum recursion depth exceeded": "def go():\n    go()\ngo()",
    "AssertionError": "assert 'Error: ' == 'openjd_fail: 1'",
    "SyntaxError: invalid syntax": "def (:",
}
"""Scripts, by what Python prints at the end."""

_CATEGORIES = {"No space": "disk", "FileNotFound": "missing_asset", "MemoryError": "memory"}


def _printed_by(script: str) -> bytes:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 1
    return done.stderr


def _errors(reports: list[Report]) -> list[RenderError]:
    return [report for report in reports if isinstance(report, RenderError)]


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("message", _SCRIPTS)
def test_what_python_raises_is_one_error(message: str, size: int) -> None:
    printed = _printed_by(_SCRIPTS[message]).replace(b"\n", b"\r\n" if size == 7 else b"\n")
    category = next((name for text, name in _CATEGORIES.items() if text in message), None)
    for renderer in ("generic", "blender", "auto"):
        parser = ProgressParser(renderer)
        pieces = [printed[at : at + size] for at in range(0, len(printed), size)]
        reports = [report for piece in pieces for report in parser.feed(piece, "stderr")] + parser.finish()
        assert [type(report) for report in reports] == [RenderError]
        (error,) = _errors(reports)
        assert error.message.startswith(message)
        assert (error.category, error.fatal) == (category, False)


def test_exceptions_that_caused_each_other_are_errors_each() -> None:
    printed = _printed_by("try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('x') from error")
    assert [error.message for error in _errors(ProgressParser().feed(printed))] == [
        "ZeroDivisionError: division by zero",
        "KeyError: 'x'",
    ]


def test_the_exceptions_of_a_group_are_errors_each() -> None:
    printed = _printed_by("raise ExceptionGroup('two', [ValueError('a'), OSError(28, 'No space left on device')])")
    parser = ProgressParser()
    errors = _errors(parser.feed(printed + b"plain: 3\nError\n50 %\n"))
    assert [(error.message, error.category) for error in errors] == [
        ("ExceptionGroup: two (2 sub-exceptions)", None),
        ("ValueError: a", None),
        ("OSError: [Errno 28] No space left on device", "disk"),
    ]
    assert parser.progress.fraction == 0.5


BLENDER = """Error: Python: Traceback (most recent call last):
  File "<string>", line 1, in <module>
KeyError: 'bpy_prop_collection[key]: key "none" not found'

"""


def test_blender_says_that_a_script_failed_and_with_what() -> None:
    parser = ProgressParser("blender")
    message = "KeyError: 'bpy_prop_collection[key]: key \"none\" not found'"
    assert parser.feed(BLENDER) == [RenderError(message, "scene", False)]
    (error,) = parser.feed("Error: script failed, expr: 'import bpy; ...', exiting.\n")
    assert error == RenderError(message, "scene", True)


def test_what_follows_a_traceback_is_read() -> None:
    parser = ProgressParser("blender", frames=[1])
    reports = parser.feed(BLENDER + "Fra:1 Mem:1M | Sample 1/2\nSaved: '/p/0001.png'\n")
    assert FileSaved("/p/0001.png") in reports
    assert parser.progress.fraction == 1.0


@pytest.mark.parametrize("rest", ["Saved: '/p/0001.png'\n", "+ rm -r /tmp/x\nSaved: '/p/0001.png'\n"])
def test_a_traceback_that_was_cut_off_hides_nothing(rest: str) -> None:
    parser = ProgressParser("blender")
    reports = parser.feed('Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n' + rest)
    assert FileSaved("/p/0001.png") in reports
    assert _errors(reports) == []


def test_the_streams_have_tracebacks_of_their_own() -> None:
    parser = ProgressParser("blender")
    assert parser.feed("Traceback (most recent call last):\n", "stderr") == []
    assert FileSaved("/p") in parser.feed("  Saved: '/p'\n", "stdout")
    assert parser.feed("  Saved: '/q'\nIndexError: 3\n", "stderr") == [RenderError("IndexError: 3", None, False)]


def test_the_prefix_of_a_log_is_no_part_of_the_message() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in <module>',
        "    Error: no",
        "ValueError: a",
    ]
    parser = ProgressParser()
    assert parser.feed("".join(f"STDERR: {line}\n" for line in lines)) == [RenderError("ValueError: a", None, False)]


@pytest.mark.parametrize("renderer", renderer_names())
def test_a_traceback_is_one_whatever_the_renderer_is(renderer: str) -> None:
    parser = ProgressParser(renderer)
    assert [error.message for error in _errors(parser.feed(BLENDER.removeprefix("Error: Python: ")))] == [
        "KeyError: 'bpy_prop_collection[key]: key \"none\" not found'"
    ]


_PIECES = [
    "Traceback (most recent call last):",
    "Error: Python: Traceback (most recent call last):",
    "  + Exception Group Traceback (most recent call last):",
    '  File "a.py", line 3',
    "  | ValueError: 1",
    "    Error: no",
    "ValueError: 2",
    "Error: Cannot render",
    "Saved: '/p'",
    "50%",
    "",
]


@given(lines=st.lists(st.sampled_from(_PIECES), max_size=15), cuts=st.lists(st.integers(0, 600), max_size=5))
def test_tracebacks_mean_the_same_however_they_are_cut(lines: list[str], cuts: list[int]) -> None:
    text = "".join(line + "\n" for line in lines)
    for renderer in ("blender", "auto"):
        whole, pieces = ProgressParser(renderer), ProgressParser(renderer)
        errors = _errors(whole.feed(text))
        places = pairwise([0, *sorted(cuts), len(text)])
        assert _errors([report for start, end in places for report in pieces.feed(text[start:end])]) == errors
