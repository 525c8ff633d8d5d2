"""What any program may print: percentages, the messages of Open Job Description, and what it ran out of.

Sources: https://github.com/OpenJobDescription/openjd-specifications/wiki (How-Jobs-Are-Run, "Stdout/Stderr Messages");
the C++ standard library, Python, CUDA's `CUresult`, the C library's texts for ENOMEM, ENOSPC and EDQUOT, Windows' for
ERROR_DISK_FULL; what FlexNet, RLM and the renderers with a file beside this one say of licences.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

OPENJD_RULES = (
    Rule(r"^openjd_progress:\s*(?P<percent>\d+(?:[.,]\d+)?)", "openjd_", of="command"),
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

DISK_RULES = (
    Rule(r"(?P<error>No space left on device)", "No space left on device", category="disk"),
    Rule(r"(?P<error>(?:Disk )?[Qq]uota exceeded)", "uota exceeded", category="disk"),
    Rule(r"(?P<error>\bENOSPC\b)", "ENOSPC", category="disk"),
    Rule(r"(?P<error>not enough space on the disk)", "not enough space on the disk", category="disk"),
)

_NO = r"(?i:could not|cannot|can't|unable to|failed to|failure to)"
_LICENCE = r"(?i:licen[sc]es?\b)"

LICENCE_RULES = tuple(
    Rule(f"(?P<error>{pattern})", "icen", category="licence")
    for pattern in (
        rf"\b{_NO} (?i:obtain|acquire|get|check ?out|find|verify|connect to|reach) (?:\w+ ){{0,3}}{_LICENCE}",
        rf"\b(?i:no) (?:(?i:valid|available|free|floating|suitable|\w+) )?{_LICENCE} "
        r"(?:(?i:could be|was|were|is|are) )?(?i:found|available|left|obtained)\b",
        r"\b(?i:licen[sc]e) (?:(?i:check ?out|server) )?"
        r"(?i:error|failed|failure|denied|expired|has expired|is not available|not available|unavailable|not found)\b",
        r"\b(?i:all licen[sc]es) (?:(?i:are) )?(?i:in use)\b",
        r"\b(?i:licensed number of users already reached)",
        r"\b(?i:flexnet licensing error)",
    )
)

COMMON_RULES = (*MEMORY_RULES, *DISK_RULES, *LICENCE_RULES)
"""Errors that count whatever the renderer is."""

OPENJD = Renderer("openjd", OPENJD_RULES)

GENERIC = Renderer(
    "generic",
    [
        Rule(r"\b(?P<frames_done>(?P<done>\d+)) ?/ ?(?P<total>\d+) frames\b", " frames", of="command"),
        Rule(r"(?<!\d)(?<!\d[.,])(?P<percent>\d+(?:[.,]\d+)?)\s?%", "%", of="command", whole=True),
    ],
)
