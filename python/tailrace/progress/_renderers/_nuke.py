"""Nuke, started with `-x` or `-t`.

Sources: `NukeAdaptor/adaptor.py` and its tests in https://github.com/aws-deadline/deadline-cloud-for-nuke;
`afanasy/python/parsers/nuke.py` in https://github.com/CGRU/cgru.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

NUKE = Renderer(
    "nuke",
    [
        # It comes when the frame is done.
        Rule(r"\bFrame (?P<frame_finished>-?\d+) \((?P<done>\d+) of (?P<total>\d+)\)", "Frame ", of="command"),
        Rule(r"^(?>.*?\bWriting )(?P<saved>.+) took [\d.]+ seconds", "Writing "),
        # A plug-in may have none, and the script not need it.
        Rule(r"(?P<error>\bA license for nuke\w* was not found)", "A license for ", category="licence", fatal=True),
        Rule(r"(?P<error>\bA license for \w+ was not found)", "A license for ", category="licence"),
        Rule(r"(?P<error>\bA suitable license does not exist)", "A suitable license ", category="licence"),
        Rule(r"(?P<error>\bNo such file or directory)", "No such file or directory", category="missing_asset"),
        Rule(r"(?P<error>\bNode execution error:)", "Node execution error:"),
        Rule(r"(?P<error>\bERROR ?:)", "ERROR"),
        Rule(r"(?P<error>\bError ?:)", "Error"),
    ],
    programs=["Nuke", "nuke"],
    signatures=["The Foundry Visionmongers", " 64 bit, built "],
)
