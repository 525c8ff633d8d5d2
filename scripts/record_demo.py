"""Run `make demo` in a terminal and save what it shows in the middle and at the end as docs/demo.svg."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from itertools import groupby
from pathlib import Path

import pyte
from pyte.screens import Char
from rich.console import Console
from rich.style import Style
from rich.text import Text

COMMAND = ["make", "--no-print-directory", "demo"]
COLUMNS, ROWS = 130, 36
MIDDLE_ROWS = 14
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "demo.svg"

ROW_OF_THE_JOB = re.compile(r"^tunnel .* (\d+)% ", flags=re.MULTILINE)


def main() -> None:
    """Record the demo; exit with its status if it fails."""
    middle, end = record(COMMAND)
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for line in [*middle[-MIDDLE_ROWS:], Text(), Text("⋮"), *end[-ROWS:]]:
            console.print(line, no_wrap=True, crop=True)
    picture = console.export_svg(title=f"$ make {COMMAND[-1]}")
    # The picture stands alone: it loads no font from elsewhere when it is shown.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\n", "", picture, flags=re.DOTALL))


def record(command: list[str]) -> tuple[list[Text], list[Text]]:
    """Return what a terminal of COLUMNS by ROWS shows halfway through the job and at the end; show it here too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    middle: list[Text] = []
    with subprocess.Popen(
        command,
        cwd=PICTURE.parent.parent,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
    ) as running:
        os.close(theirs)
        while piece := read_terminal(ours):
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
            stream.feed(piece)
            found = ROW_OF_THE_JOB.search("\n".join(screen.display))
            if not middle and found is not None and int(found[1]) >= 50:
                middle = shown_lines(screen)
    os.close(ours)
    if running.returncode != 0:
        sys.exit(running.returncode)
    return middle, shown_lines(screen)


def read_terminal(descriptor: int) -> bytes:
    """Return what the terminal has next, or nothing once all its users have closed it."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def shown_lines(screen: pyte.Screen) -> list[Text]:
    """Return the lines of the screen down to the cursor, with their colours."""
    lines = []
    for row in range(screen.cursor.y):
        chars = [screen.buffer[row][column] for column in range(COLUMNS)]
        runs = [("".join(char.data for char in run), style) for style, run in groupby(chars, style_of)]
        lines.append(Text.assemble(*runs))
    return lines


def style_of(char: Char) -> Style:
    """Return the style of a character; the emulator has its own names for two kinds of colours."""
    name = re.sub("^bright", "bright_", char.fg.replace("brown", "yellow"))
    return Style(color=f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else name, bold=char.bold)


if __name__ == "__main__":
    main()
