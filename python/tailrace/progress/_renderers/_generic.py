"""What any program may print: percentages, the messages of Open Job Description, and that memory ran out.

Sources: https://github.com/OpenJobDescription/openjd-specifications/wiki (How-Jobs-Are-Run, "Stdout/Stderr Messages");
the C++ standard library, Python, CUDA's `CUresult` and the C library's text for ENOMEM.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

OPENJD_RULES = (
    Rule(r"^openjd_progress:\s*(?P<percent>\d+(?:\.\d+)?)", "openjd_", of="command"),
    Rule(r"^openjd_status:\s*(?P<status>.*)", "openjd_"),
    Rule(r"^openjd_fail:\s*(?P<error>.*)", "openjd_", fatal=True),
)

MEMORY_RULES = (
    Rule(r"(?P<error>std::bad_alloc)", "std::bad_alloc", category="memory"),
    Rule(r"(?P<error>\bMemoryError\b)", "MemoryError", category="memory"),
    Rule(r"(?P<error>\b[Oo]ut of memory\b)", "ut of memory", category="memory"),
    Rule(r"(?P<error>OUT_OF_MEMORY\b)", "OUT_OF_MEMORY", category="memory"),
    Rule(r"(?P<error>Cannot allocate memory)", "Cannot allocate memory", category="memory"),
)

OPENJD = Renderer("openjd", OPENJD_RULES)

GENERIC = Renderer(
    "generic",
    [
        Rule(r"(?<![\d.])(?P<percent>\d+(?:\.\d+)?) ?%", "%", of="command", whole=True),
        Rule(r"\b(?P<done>\d+) ?/ ?(?P<total>\d+) frames\b", " frames", of="command", whole=True),
    ],
)
