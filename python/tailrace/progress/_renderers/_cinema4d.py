"""Cinema 4D: `Commandline`.

Source: `afanasy/python/parsers/c4d.py` in https://github.com/CGRU/cgru; `Cinema4DAdaptor/adaptor.py` in
https://github.com/aws-deadline/deadline-cloud-for-cinema-4d.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

CINEMA4D = Renderer(
    "cinema4d",
    [
        Rule(r"\bRendering frame (?P<frame>-?\d+) at <", "Rendering frame "),
        Rule(r"\bProgress:? +(?P<percent>\d+(?:[.,]\d+)?)%", "Progress", whole=True),
        Rule(r"\b(?P<finished>Rendering successful)\b", "Rendering successful", of="command"),
        Rule(r"(?P<error>\bAsset missing\b)", "Asset missing", category="missing_asset"),
        Rule(r"(?P<error>\bFiles cannot be written\b)", "Files cannot be written", fatal=True),
        Rule(r"(?P<error>\bError rendering project\b)", "Error rendering project", fatal=True),
    ],
    programs=["Commandline", "c4d", "c4dpy", "Cinema 4D"],
)
