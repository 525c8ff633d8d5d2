"""The files of one join: its inputs under plain names, and its output until it is whole."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from .._errors import StitchError
from .._spec.outputs import fault_of_file

_PLAIN_SUFFIX = re.compile(r"\.[A-Za-z0-9]+", re.ASCII)


class StitchFiles:
    """The files of one join. Its methods block, and may be called from any thread."""

    part: Path
    """Where the output is to be written: beside its place, with the same ending. Known once `prepare` has returned."""
    links: Sequence[Path]
    """They lead to the inputs. Made by `prepare`."""
    audio_link: Path
    """Leads to the piece of sound, if there is one. Made by `prepare`."""
    list_file: Path
    """A list of the inputs for ffmpeg's concat demuxer. Made by `write_list`."""
    sound_folder: Path
    """For decoded sound, on the disk that the output will be on. Made by `make_sound_folder`."""

    def __init__(self, inputs: Sequence[Path], output: Path, audio: Path | None = None) -> None:
        self.inputs = inputs
        self.output = output
        self.audio = audio
        # A cancelled task leaves before the thread that works for it does.
        self._lock = threading.Lock()
        self._is_prepared = False
        self._is_over = False

    def prepare(self) -> None:
        """Look at the inputs and the output, and make the links. Raises `StitchError` or `OSError`."""
        # A link stays where it is and its target is replaced, on the target's own file system.
        self._target = Path(os.path.realpath(self.output))
        self._check()
        with self._lock:
            if self._is_over:
                return
            self._folder = Path(tempfile.mkdtemp(prefix="tailrace-"))
            self.part = self._target.with_name(f".tailrace-{secrets.token_hex(8)}{_plain_suffix(self.output)}")
            self.sound_folder = self.part.with_name(f"{self.part.name}.sound")
            self._is_prepared = True
            # No line of a list can hold a line end, and programs make something of their own of many a name.
            self.links = [self._folder / f"{number:06}{_plain_suffix(path)}" for number, path in enumerate(self.inputs)]
            for link, path in zip(self.links, self.inputs, strict=True):
                link.symlink_to(path.absolute())
            if self.audio is not None:
                self.audio_link = self._folder / f"sound{_plain_suffix(self.audio)}"
                self.audio_link.symlink_to(self.audio.absolute())

    def write_list(self, lengths: Sequence[Fraction]) -> None:
        """List the inputs, each with how many seconds later the next one begins. Raises `OSError`."""
        with self._lock:
            if self._is_over:
                return
            self.list_file = self._folder / "list.ffconcat"
            lines = ["ffconcat version 1.0"]
            written = total = Fraction(0)
            for link, length in zip(self.links, lengths, strict=True):
                total += length
                # ffmpeg reads microseconds. Rounded from the beginning on, or it would add up.
                step = round((total - written) * 1_000_000)
                written += Fraction(step, 1_000_000)
                lines += [f"file {link.name}", f"duration {step}us"]
            self.list_file.write_text("\n".join(lines))

    def make_sound_folder(self) -> None:
        """Make the folder for decoded sound. Raises `OSError`."""
        with self._lock:
            if not self._is_over:
                self.sound_folder.mkdir()

    def sound_file(self, stream: int, number: int) -> Path:
        """Return where the decoded sound of an input goes."""
        return self.sound_folder / f"{stream}-{number:06}.wav"

    def list_sound(self, stream: int) -> Path:
        """List the decoded sound of all inputs; return the list. Raises `OSError`."""
        path = self.sound_folder / f"{stream}.ffconcat"
        with self._lock:
            if not self._is_over:
                names = (self.sound_file(stream, number).name for number in range(len(self.inputs)))
                path.write_text("\n".join(["ffconcat version 1.0", *(f"file {name}" for name in names)]))
        return path

    def make_room(self) -> None:
        """Make the folder of the output, if it is missing. Raises `OSError`."""
        self._target.parent.mkdir(parents=True, exist_ok=True)

    def publish(self) -> None:
        """Give the output its name, in place of what had it. Raises `OSError`."""
        with self._lock:
            if not self._is_over:
                self.part.replace(self._target)

    def remove(self) -> None:
        """Remove what is left of the work. Nothing is made any more from now on."""
        with self._lock:
            self._is_over = True
            if self._is_prepared:
                shutil.rmtree(self._folder, ignore_errors=True)
                shutil.rmtree(self.sound_folder, ignore_errors=True)
                self.part.unlink(missing_ok=True)

    def in_their_names(self, text: str) -> str:
        """Return `text` with the names of the user's files in place of ours."""
        for link, path in zip(self.links, self.inputs, strict=True):
            text = text.replace(os.fspath(link), os.fspath(path))
        if self.audio is not None:
            text = text.replace(os.fspath(self.audio_link), os.fspath(self.audio))
        return text.replace(os.fspath(self.part), os.fspath(self.output))

    def _check(self) -> None:
        if not self.inputs:
            raise StitchError(f"there is nothing to join into {self.output}")
        for path in self.inputs:
            fault = fault_of_file(path)
            if fault is not None:
                raise StitchError(f"{path} {fault}: render it again")
        if self.audio is not None:
            check_audio(self.audio, self._target)
        try:
            output = self._target.stat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(output.st_mode):
            raise StitchError(f"{self.output} is there and not a file: choose another name for the joined video")
        for path in self.inputs:
            if os.path.samestat(path.stat(), output):
                raise StitchError(f"{path} is to be joined, and cannot be the output too: choose another name for that")


def check_audio(audio: Path, output: Path) -> None:
    """Raise `StitchError` if `audio` cannot be a piece of sound for `output`. Blocks."""
    fault = fault_of_file(audio)
    if fault is not None:
        raise StitchError(f"the sound {audio} {fault}: name a file with sound")
    if os.path.realpath(audio) == os.path.realpath(output):
        raise StitchError(f"the sound {audio} cannot be the output too: choose another name for that")


def _plain_suffix(path: Path) -> str:
    """Return how the name ends, which tells ffmpeg the format, or nothing if that cannot be any format's."""
    return path.suffix if _PLAIN_SUFFIX.fullmatch(path.suffix) else ""
