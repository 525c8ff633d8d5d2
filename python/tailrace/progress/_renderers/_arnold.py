"""Arnold: `kick`, and the log that its plugins share.

Sources: https://help.autodesk.com/view/ARNOL/ENU/ ("How to Read a Render Log"); logs in
https://github.com/Autodesk/arnold-usd/issues (1633, 1875); `afanasy/python/parsers/arnold.py` in
https://github.com/CGRU/cgru; the licence errors in https://github.com/aws-deadline/deadline-cloud-for-maya
(`MayaAdaptor/adaptor.py`) and https://github.com/aws-deadline/deadline-cloud-for-cinema-4d (the tests of its adaptor).
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

ARNOLD_PROGRESS = (
    Rule(
        r"(?:\b(?P<memory>\d+(?:\.\d+)? ?[KMGT]B) *)?\| +(?P<percent>\d+(?:[.,]\d+)?)% done\b",
        "% done",
        whole=True,
    ),
    Rule(r"\[driver_\w+\] writing file `(?P<saved>[^']+)'", "] writing file `"),
)

# Not the option alone, which a shell or a log of the scene's options shows in a render that is well.
ARNOLD_LICENCE = Rule(
    r"(?P<error>\baborting render because .{0,40}\babort_on_license_fail\b|\[rlm\] abort_on_license_fail enabled\b)",
    "abort_on_license_fail",
    category="licence",
    fatal=True,
)

ARNOLD = Renderer(
    "arnold",
    [
        *ARNOLD_PROGRESS,
        Rule(r"\bpeak CPU memory used +(?P<memory>[\d.,]+ ?[KMGT]?B)", "peak CPU memory used"),
        Rule(r"\[mtoa\.session\] +Initializing at frame (?P<frame>-?\d+)", "Initializing at frame "),
        Rule(
            r"(?P<error>\[rlm\] error initializing license system)",
            "initializing license system",
            category="licence",
        ),
        ARNOLD_LICENCE,
        Rule(r"(?P<error>\brendering with watermarks)", "rendering with watermarks", category="licence"),
        Rule(r"(?P<error>\bERROR +\| +\[ass\] can't (?:open|read))", "ERROR", category="missing_asset"),
        Rule(r"(?P<error>\bERROR +\| +\[texturesys\])", "ERROR", category="missing_asset"),
        Rule(r"(?P<error>\bERROR +\| +\[alembic\] invalid archive)", "ERROR", category="missing_asset"),
        Rule(r"(?P<error>\bERROR +\| +(?:\[\w+\] +)?signal caught)", "ERROR", fatal=True),
        Rule(r"(?P<error>\brender aborted due to earlier errors)", "render aborted due", fatal=True),
        Rule(r"(?P<error>\bERROR +\| )", "ERROR"),
    ],
    programs=["kick"],
    signatures=["| Arnold ", " rays/pixel"],
)
