"""ffmpeg: the line it keeps rewriting, and the keys of `-progress`.

Source: `print_report` in https://github.com/FFmpeg/FFmpeg/blob/master/fftools/ffmpeg.c, `av_dump_format` in
`libavformat/dump.c`, `libavutil/error.c`; recorded from ffmpeg 9.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

FFMPEG = Renderer(
    "ffmpeg",
    [
        # The last one of a run.
        Rule(
            r"^(?>.*?\bframe=\s*(?P<rendered>\d+) )?.*(?P<finished>\bLsize=)(?:.*? time=(?P<time>\d[\d:.]*))?",
            "Lsize=",
            of="command",
        ),
        Rule(r"\bframe=\s*(?P<rendered>\d+) fps=(?:.*? time=(?P<time>\d[\d:.]*))?", "frame=", whole=True),
        Rule(r"^frame=\s*(?P<rendered>\d+)\s*$", "frame=", whole=True),
        Rule(r"^out_time=(?P<time>\d[\d:.]*)", "time=", whole=True),
        Rule(r"^(?>.*?size=).* time=(?P<time>\d[\d:.]*)", "time=", whole=True),
        Rule(r"^progress=(?P<finished>end)\b", "progress=end", of="command"),
        Rule(r"\bDuration: (?P<duration>\d[\d:.]*)", "Duration: "),
        Rule(r"(?P<error>Error opening output)", "Error opening ", fatal=True),
        Rule(r"(?P<error>Error writing trailer)", "Error writing trailer", fatal=True),
        Rule(
            r"^(?>.*?(?P<error>Error opening input)).*No such file or directory",
            "No such fil",
            category="missing_asset",
            fatal=True,
        ),
        Rule(r"(?P<error>No such file or directory)", "No such fil", category="missing_asset"),
        Rule(r"(?P<error>No such filter: )", "No such fil", category="scene", fatal=True),
        Rule(r"(?P<error>Unknown encoder ')", "Unknown encoder", category="scene", fatal=True),
        Rule(r"(?P<error>: (?:Encoder|Option|Filter) not found)", " not found", category="scene", fatal=True),
        Rule(r"(?P<error>Invalid (?:data found|argument))", "Invalid ", category="scene"),
    ],
    encoder=True,
    programs=["ffmpeg"],
    signatures=["ffmpeg version ", "kbits/s speed=", "out_time_us="],
)
