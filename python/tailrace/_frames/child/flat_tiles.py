"""Looks for tiles of a picture that were not rendered: of one value, with content up to their very edges.

A sky or a shadow may be of one value too, but its edges do not run along a grid: beside the cells that it fills there
are others that it fills in part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_CELL = 16
"""Pixels: the least tile that renderers use, and a divisor of the others."""
_LOOKS = ((0, 15), (15, 0), (15, 15), (8, 7), (3, 11), (12, 4))
"""Where in a cell to look first: sixteenths of its height and width."""
_MOST_ALIKE = 0.05
"""How much of what lies around may have the same value by chance."""
_LEAST_VALUES = 8
"""How many different values lie around where there is content."""
_MOST_TILES = 20


def find_flat_tiles(pixels: Any, colours: int) -> list[list[Any]]:
    """Return the fields of the `FlatTile`s of a picture, of rows, columns and channels, of which some are colours."""
    height = pixels.shape[0]
    found: list[list[Any]] = []
    # Tiles are counted from the top or from the bottom.
    for first in dict.fromkeys((0, height % _CELL)):
        for tile in _Grid(pixels, first).tiles(colours):
            if tile not in found:
                found.append(tile)
            if len(found) == _MOST_TILES:
                return found
    return found


class _Grid:
    def __init__(self, pixels: Any, first: int) -> None:
        height, width = pixels.shape[:2]
        self._pixels = pixels
        self._rows = [*([0] if first else []), *range(first, height, _CELL), height]
        self._columns = [*range(0, width, _CELL), width]
        self._values: list[Any] = []
        self._numbers = np.full((len(self._rows) - 1, len(self._columns) - 1), -1)
        """Which of the values fills a cell; -1: it is not of one value."""
        numbers: dict[bytes, int] = {}
        for row, column in np.argwhere(self._may_be_flat()):
            cell = pixels[self._rows[row] : self._rows[row + 1], self._columns[column] : self._columns[column + 1]]
            value = cell[0, 0]
            if (cell == value).all():
                self._numbers[row, column] = numbers.setdefault(value.tobytes(), len(numbers))
                if len(numbers) > len(self._values):
                    self._values.append(value)

    def _may_be_flat(self) -> Any:
        """Return whether some pixels of each cell are alike: to look at all takes longer than to decode them."""
        starts, lefts = np.array(self._rows[:-1]), np.array(self._columns[:-1])
        heights, widths = np.diff(self._rows), np.diff(self._columns)
        first = self._pixels[np.ix_(starts, lefts)]
        is_alike = np.ones(first.shape[:2], dtype=bool)
        for down, right in _LOOKS:
            rows, columns = starts + heights * down // _CELL, lefts + widths * right // _CELL
            is_alike &= (self._pixels[np.ix_(rows, columns)] == first).all(axis=-1)
        return is_alike

    def tiles(self, colours: int) -> Iterator[list[Any]]:
        height, width = self._pixels.shape[:2]
        for number, cells in self._regions():
            value = self._values[number]
            if not self._stands_out(cells, value):
                continue
            rows, columns = zip(*cells, strict=True)
            x, y = self._columns[min(columns)], self._rows[min(rows)]
            right, bottom = self._columns[max(columns) + 1], self._rows[max(rows) + 1]
            # A bar touches three sides of the picture, a band two that are opposite.
            is_inside = not ((x == 0 and right == width) or (y == 0 and bottom == height))
            yield [x, y, right - x, bottom - y, not value[:colours].any(), is_inside]

    def _regions(self) -> Iterator[tuple[int, set[tuple[int, int]]]]:
        """Yield the cells that lie side by side and have the same value."""
        left = {(int(row), int(column)) for row, column in np.argwhere(self._numbers >= 0)}
        while left:
            start = left.pop()
            number = int(self._numbers[start])
            cells, edge = {start}, [start]
            while edge:
                for beside in _beside(edge.pop()):
                    if beside in left and self._numbers[beside] == number:
                        left.remove(beside)
                        cells.add(beside)
                        edge.append(beside)
            yield number, cells

    def _stands_out(self, cells: set[tuple[int, int]], value: Any) -> bool:
        borders = [
            (cell, beside)
            for cell in cells
            for beside in _beside(cell)
            if beside not in cells and 0 <= beside[0] < len(self._rows) - 1 and 0 <= beside[1] < len(self._columns) - 1
        ]
        # How many pixels there are around, about: each is looked at only as long as it may make a difference.
        most, alike = len(borders) * _CELL * _MOST_ALIKE, 0
        around = []
        for cell, beside in borders:
            pixels = self._line(cell, beside)
            alike += int((pixels == value).all(axis=-1).sum())
            if alike > most:
                return False
            around.append(pixels)
        return bool(around) and len(np.unique(np.concatenate(around), axis=0)) >= _LEAST_VALUES

    def _line(self, cell: tuple[int, int], beside: tuple[int, int]) -> Any:
        """Return the pixels of the cell beside that touch the cell."""
        top, bottom = self._rows[cell[0]], self._rows[cell[0] + 1]
        left, right = self._columns[cell[1]], self._columns[cell[1] + 1]
        if beside[0] == cell[0]:
            return self._pixels[top:bottom, right if beside[1] > cell[1] else left - 1]
        return self._pixels[bottom if beside[0] > cell[0] else top - 1, left:right]


def _beside(cell: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    row, column = cell
    return (row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)
