"""What the pixels of a picture are like, added up while they are decoded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from OpenImageIO import ImageSpec

from .flat_tiles import find_flat_tiles

_FAR = re.compile(r"(?:.*\.)?(?:z|zback|zfront|depth(?:\.\w)?|deep.*)", re.IGNORECASE)
"""Channels in which nothing at all is infinitely far away."""
_MOST_KEPT = 1 << 28
"""Of how many values tiles are looked for; those have to be in memory at once."""
_NUMBERS = {"frame", "framenumber", "frame_number", "nuke/input/frame", "blender frame", "blender/frame"}
"""The attributes that tell a frame's number, in small letters."""


class PictureStatistics:
    """Takes bands of rows, from the top: of all images for numbers that are none, of the first one for its looks."""

    def __init__(self) -> None:
        self._hash = hashlib.sha1(usedforsecurity=False)
        self._nans = self._infinities = 0
        self._total, self._count = 0.0, 0
        self._least: Any = None
        self._greatest: Any = None
        self._main: list[int] = []
        self._colours = 0
        self._kept: list[Any] | None = None

    def add(self, band: Any, image: int, spec: ImageSpec) -> None:
        """Take the rows that follow those before."""
        # By whole rows first: numpy is slow where what it reduces has three or four elements side by side.
        rows = band.reshape(-1, spec.width * spec.nchannels)
        columns = {
            "least": rows.min(axis=0),
            "greatest": rows.max(axis=0),
            "sum": rows.sum(axis=0, dtype=np.float32 if rows.dtype.kind == "f" else np.uint64),
        }
        by_channel = {name: values.reshape(spec.width, spec.nchannels) for name, values in columns.items()}
        least, greatest = by_channel["least"].min(axis=0), by_channel["greatest"].max(axis=0)
        totals = by_channel["sum"].sum(axis=0, dtype=np.float64)
        count = rows.size // spec.nchannels
        if not (np.isfinite(least) & np.isfinite(greatest) & np.isfinite(totals)).all():
            pixels = rows.reshape(-1, spec.nchannels)
            self._count_odd_numbers(pixels, spec.channelnames)
            pixels = pixels[np.isfinite(pixels).all(axis=1)]
            count = len(pixels)
            if count:
                least, greatest = pixels.min(axis=0), pixels.max(axis=0)
                totals = pixels.sum(axis=0, dtype=np.float64)
        if image == 0:
            self._hash.update(np.ascontiguousarray(rows).data)
            self._keep(rows.reshape(-1, spec.width, spec.nchannels), spec)
            if count:
                self._add_up(least, greatest, totals, count, rows.dtype)

    def finish(self, spec: ImageSpec) -> dict[str, Any]:
        """Return the fields of a `FrameStats`, for JSON, and let go of the pixels."""
        kept, self._kept = self._kept, None
        is_known = self._count > 0
        colours = slice(0, self._colours)
        return {
            "pixel_type": str(spec.format),
            "channel_names": list(spec.channelnames),
            "mean": self._total / self._count if is_known else 0.0,
            "minimum": float(self._least[colours].min()) if is_known else 0.0,
            "maximum": float(self._greatest[colours].max()) if is_known else 0.0,
            "pixel_hash": self._hash.hexdigest(),
            "nans": self._nans,
            "infinities": self._infinities,
            "is_one_colour": is_known and bool((self._least == self._greatest).all()),
            "flat_tiles": find_flat_tiles(np.concatenate(kept), self._colours) if kept else [],
            "frame_number": _frame_number(spec),
        }

    def _count_odd_numbers(self, pixels: Any, names: Sequence[str]) -> None:
        self._nans += int(np.isnan(pixels).sum())
        near = [index for index, name in enumerate(names) if not _FAR.fullmatch(name)]
        self._infinities += int(np.isinf(pixels[:, near]).sum())

    def _keep(self, band: Any, spec: ImageSpec) -> None:
        if not self._main:
            colours, alpha = _main_channels(spec.channelnames)
            self._main, self._colours = colours + alpha, len(colours)
            if spec.width * spec.height * len(self._main) <= _MOST_KEPT and max(spec.depth, 1) == 1:
                self._kept = []
        if self._kept is not None:
            self._kept.append(band if self._main == list(range(spec.nchannels)) else band[..., self._main])

    def _add_up(self, least: Any, greatest: Any, totals: Any, count: int, type_: Any) -> None:
        scale = 1.0 if type_.kind == "f" else float(np.iinfo(type_).max)
        self._total += float(totals[self._main[: self._colours]].sum()) / scale
        self._count += count * self._colours
        least, greatest = least[self._main] / scale, greatest[self._main] / scale
        self._least = least if self._least is None else np.minimum(self._least, least)
        self._greatest = greatest if self._greatest is None else np.maximum(self._greatest, greatest)


def _main_channels(names: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return where the colours and the alpha of the first layer are, or what comes first where there are none."""
    places = {name.lower(): place for place, name in reversed(list(enumerate(names)))}
    for name in names:
        layer, dot, channel = name.lower().rpartition(".")
        if channel in ("r", "red", "y", "i"):
            end = {"r": "rgb", "red": ("red", "green", "blue")}.get(channel, (channel,))
            colours = [places[layer + dot + one] for one in end if layer + dot + one in places]
            return colours, [places[layer + dot + one] for one in ("a", "alpha") if layer + dot + one in places][:1]
    colours = [place for place, name in enumerate(names) if name.lower().rpartition(".")[2] not in ("a", "alpha")]
    return colours[:3] or [0], []


def _frame_number(spec: ImageSpec) -> int | None:
    for attribute in spec.extra_attribs:
        if attribute.name.lower() in _NUMBERS:
            try:
                number = float(str(attribute.value))
            except (TypeError, ValueError):
                continue
            return int(number) if number.is_integer() else None
    return None
