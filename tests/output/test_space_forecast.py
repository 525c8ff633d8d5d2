"""That the frames left will not fit on the disk is told while there is time, once, and not without reason."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace._output.disk_space import free_space, shown_size
from tailrace._output.space_forecast import SpaceForecast

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount small disks")

TOO_MANY = 10**9
MB = 1_000_000


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Mount two disks of 1 MiB."""
    folders = (tmp_path / "first", tmp_path / "second")
    for folder in folders:
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", folder], check=True)
    try:
        yield folders
    finally:
        for folder in folders:
            subprocess.run(["umount", folder], check=True)


def render(forecast: SpaceForecast, folder: Path, *numbers: int, size: int = 100_000) -> None:
    for number in numbers:
        path = folder / f"{number}.png"
        path.write_bytes(bytes(size))
        forecast.add(path, size)


@needs_root
def test_frames_that_will_not_fit_are_told_with_what_is_free(disks: tuple[Path, Path]) -> None:
    forecast = SpaceForecast()
    render(forecast, disks[0], 1, 2, 3)
    told = forecast.warning(10)
    assert told is not None
    found = re.fullmatch(
        rf"about 1\.0 MB are still to be written to {re.escape(str(disks[0]))}, and (\d+) KB are free", told
    )
    assert found is not None
    assert 700 <= int(found[1]) < 750


@needs_root
def test_frames_that_fit_are_not_told_of_until_something_else_fills_the_disk(disks: tuple[Path, Path]) -> None:
    forecast = SpaceForecast(interval=0)
    render(forecast, disks[0], 1, 2, 3)
    assert forecast.warning(6) is None
    (disks[0] / "other").write_bytes(bytes(300_000))
    assert forecast.warning(6) is not None


@needs_root
def test_each_disk_is_told_of_once(disks: tuple[Path, Path]) -> None:
    forecast = SpaceForecast(interval=0)
    for number in (1, 2, 3):
        render(forecast, disks[0], number)
        path = disks[1] / f"{number}.exr"
        path.write_bytes(bytes(200_000))
        forecast.add(path, 200_000, frames=0)
    first, second, *others = [forecast.warning(20) for _ in range(4)]
    assert first is not None
    assert second is not None
    assert first.startswith(f"about 2.0 MB are still to be written to {disks[0]},")
    assert second.startswith(f"about 4.0 MB are still to be written to {disks[1]},")
    assert others == [None, None]


def test_folders_of_one_disk_are_one(tmp_path: Path) -> None:
    forecast = SpaceForecast(interval=0)
    for number in range(10):
        forecast.add(tmp_path / f"{number}.png", MB)
        (tmp_path / f"{number}").mkdir()
        forecast.add(tmp_path / f"{number}" / "pass.png", MB, frames=0)
    told = [forecast.warning(TOO_MANY) for _ in range(3)]
    assert told[0] is not None
    assert told[0].startswith(f"about 2.0 PB are still to be written to {tmp_path},")
    assert told[1:] == [None, None]


def test_a_video_counts_for_all_its_frames(tmp_path: Path) -> None:
    forecast = SpaceForecast()
    forecast.add(tmp_path / "part.mp4", 50 * MB, frames=50)
    told = forecast.warning(TOO_MANY)
    assert told is not None
    assert told.startswith("about 1.0 PB are")


def test_too_few_frames_say_nothing(tmp_path: Path) -> None:
    forecast = SpaceForecast(interval=60)
    for number in (1, 2):
        forecast.add(tmp_path / f"{number}.png", MB)
        assert forecast.warning(TOO_MANY) is None
    forecast.add(tmp_path / "3.png", MB)
    # It was not put off by having asked too early.
    assert forecast.warning(TOO_MANY) is not None


def test_the_disk_is_asked_again_only_after_a_while(tmp_path: Path) -> None:
    forecast = SpaceForecast(interval=60)
    for number in range(3):
        forecast.add(tmp_path / f"{number}.png", MB)
    assert forecast.warning(1) is None
    assert forecast.warning(TOO_MANY) is None


def test_nothing_is_told_of_where_nothing_is_left_or_can_be_known(tmp_path: Path) -> None:
    forecast = SpaceForecast(interval=0)
    for number in range(3):
        forecast.add(tmp_path / "deleted" / f"{number}.png", MB)
    assert forecast.warning(TOO_MANY) is None
    for number in range(3):
        forecast.add(tmp_path / f"{number}.png", MB)
    assert forecast.warning(0) is None


def test_what_is_free_counts_for_a_folder_that_is_yet_to_be_made(tmp_path: Path) -> None:
    free = free_space(tmp_path)
    assert free is not None
    assert free > 0
    assert free_space(tmp_path / "later" / "still") is not None
    assert free_space("/proc") is None


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 KB"), (9_960, "10 KB"), (999_600, "1.0 MB"), (12.4e9, "12 GB")],
)
def test_sizes_are_short(size: float, shown: str) -> None:
    assert shown_size(size) == shown
