"""The messages that the documentation explains are messages of tailrace."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ROOT

TEXT = (ROOT / "docs" / "troubleshooting.md").read_text()
MESSAGES = re.findall(r"^\| `([^`]+)` \|", TEXT, flags=re.MULTILINE)

PLACEHOLDER = "…"

# What the system or a worker says, in place of a placeholder of ours.
OF_OTHERS = ("Connection refused", "401")


@pytest.fixture(scope="module")
def sources() -> list[str]:
    """Return all texts in the Python sources, with placeholders for what is put into them, and the core's sources."""
    texts = [text for path in (ROOT / "python").rglob("*.py") for text in texts_in(path)]
    return texts + [path.read_text() for path in (ROOT / "rust").rglob("*.rs")]


def test_there_are_messages_of_all_kinds() -> None:
    assert len(MESSAGES) > 35
    assert len(MESSAGES) == len(re.findall(r"^\| `", TEXT, flags=re.MULTILINE))


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_that_is_explained_is_one_of_tailrace(message: str, sources: list[str]) -> None:
    for other in OF_OTHERS:
        message = message.replace(other, PLACEHOLDER)
    parts = [part.strip(" :,") for part in message.split(PLACEHOLDER)]
    told = [part for part in parts if re.search(r"\w{2}", part)]
    assert told
    assert [part for part in told if not is_told(part, sources)] == []


def is_told(part: str, sources: list[str]) -> bool:
    """Return whether a part of a message stands in one of the sources, or its two halves in two of them."""
    cuts = [found.start() for found in re.finditer("[ ,]|$", part)]
    return any(
        all(any(half in source for source in sources) for half in (part[:cut], part[cut:].strip())) for cut in cuts
    )


def texts_in(path: Path) -> Iterator[str]:
    """Yield the texts that a module may put together a message from, and no docstrings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            # Not followed further down: what stands alone is a docstring.
            node.value.value = None
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
