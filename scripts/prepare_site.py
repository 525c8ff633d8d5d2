"""Writes the pages of the site to target/site-pages: those of docs/, some from outside of it, and the command line.

A link is written for the repository: relative to the file that it is in. Where it leads to another page, the site
has it lead there; any other file of the repository that a page links to is copied to the site.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from site_commands import with_commands

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "target" / "site-pages"

DOCS = "docs/"

FROM_OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""The pages from outside of docs/, with their names on the site."""

CODE = re.compile(r"^ *(```+).*?^ *\1 *$|(`+)[^`].*?\2", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def main() -> None:
    """Write all pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    files = [path for path in (ROOT / "docs").rglob("*") if path.is_file()]
    pages = {path.relative_to(ROOT).as_posix(): path.relative_to(ROOT / "docs").as_posix() for path in files}
    pages |= FROM_OUTSIDE
    for source, page in pages.items():
        if page.endswith(".md"):
            text = with_commands(for_site((ROOT / source).read_text(), source, pages))
            _place(page).write_text(text)
        else:
            shutil.copyfile(ROOT / source, _place(page))


def for_site(markdown: str, source: str, pages: Mapping[str, str]) -> str:
    """Return the page from the file `source` with its links made for the site; what they lead to is there then.

    `pages` are the names on the site by those of the files. Ends the program for a link that leads nowhere.
    """

    def on_site(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        target = pages.get(path) or _copy(path, source)
        return posixpath.relpath(target, posixpath.dirname(pages[source]) or ".")

    pieces: list[str] = []
    end = 0
    for code in CODE.finditer(markdown):
        pieces += [LINK.sub(on_site, markdown[end : code.start()]), _in_table(code) if code[2] else code[0]]
        end = code.end()
    return "".join([*pieces, LINK.sub(on_site, markdown[end:])])


def _in_table(code: re.Match[str]) -> str:
    # The repository's pages need a pipe in a table to be escaped, in code too; here it would be shown.
    line = code.string[code.string.rfind("\n", 0, code.start()) + 1 : code.start()]
    return code[0].replace(r"\|", "|") if line.startswith("|") else code[0]


def _copy(path: str, source: str) -> str:
    if not (ROOT / path).is_file():
        sys.exit(f"{source} links to {path}, which is no file of the repository: mend the link")
    copy = f"files/{path}"
    shutil.copyfile(ROOT / path, _place(copy))
    return copy


def _place(page: str) -> Path:
    place = PAGES / page
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


if __name__ == "__main__":
    main()
