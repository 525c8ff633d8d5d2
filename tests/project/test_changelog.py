"""Users can read what changes for them."""

from __future__ import annotations

from support import ROOT


def test_what_is_not_released_yet_has_a_section_that_says_something() -> None:
    _, begin, unreleased = (ROOT / "CHANGELOG.md").read_text().partition("\n## Unreleased\n")
    assert begin
    assert any(line.startswith("- ") for line in unreleased.partition("\n## ")[0].splitlines())
