"""V-Ray Standalone.

Sources: `afanasy/python/parsers/vray.py` in https://github.com/CGRU/cgru; the licence errors in
https://github.com/aws-deadline/deadline-cloud-for-maya (`MayaAdaptor/adaptor.py`) and
https://github.com/aws-deadline/deadline-cloud-for-3ds-max/issues/238.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

VRAY_PROGRESS = (
    Rule(r"\bRendering image[^:]{0,40}: +(?P<percent>\d+(?:[.,]\d+)?)%", "Rendering image", whole=True),
    Rule(r"\bRendering image[^:]{0,40}: +(?P<finished>done)\b", "Rendering image"),
    Rule(r'\bSuccessfully written image file "(?P<saved>[^"]+)"', "Successfully written image file "),
)

VRAY = Renderer(
    "vray",
    [
        *VRAY_PROGRESS,
        Rule(r"\bStarting frame (?P<frame>-?\d+)", "Starting frame "),
        Rule(
            r"(?P<error>Could not obtain a license)",
            "Could not obtain a license",
            category="licence",
            fatal=True,
        ),
        Rule(r"(?P<error>\bMemory allocation failure)", "Memory allocation failure", category="memory"),
        Rule(r'(?P<error>\bNo file "[^"]*" exists)', 'No file "', category="missing_asset"),
        Rule(r"(?P<error>\berror: )", "error: "),
    ],
    programs=["vray"],
    signatures=["V-Ray Standalone", "V-Ray core version", "Rendering image...:"],
)
