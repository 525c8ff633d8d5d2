"""Run `make demo` in a terminal and save what the terminal shows at the end as docs/demo.svg."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ["make", "--no-print-directory", "demo"]
COLUMNS, ROWS = 130, 36
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "demo.svg"


def main() -> None:
    """Record the demo; exit with its status if it fails."""
    screen = shown_lines(output_in_terminal(COMMAND))[-ROWS:]
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for line in screen:
            console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    picture = console.export_svg(title=f"$ make {COMMAND[-1]}")
    # The picture stands alone: it loads no font from elsewhere when it is shown.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\n", "", picture, flags=re.DOTALL))


def output_in_terminal(command: list[str]) -> str:
    """Return all that `command` writes to a terminal of COLUMNS by ROWS, and show it here too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    with subprocess.Popen(command, cwd=PICTURE.parent.parent, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        output = bytearray()
        while piece := read_terminal(ours):
            output += piece
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
    os.close(ours)
    if running.returncode != 0:
        sys.exit(running.returncode)
    return output.decode()


def read_terminal(descriptor: int) -> bytes:
    """Return what the terminal has next, or nothing once all its users have closed it."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def shown_lines(output: str) -> list[str]:
    """Return the lines a terminal shows: what follows a carriage return is written over what was there."""
    lines = []
    for line in output.replace("\r\n", "\n").removesuffix("\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


if __name__ == "__main__":
    main()
