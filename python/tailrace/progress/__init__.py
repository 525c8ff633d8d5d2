"""What renderers print, understood: how far they are, which files they saved and what went wrong."""

from .._errors import ErrorCategory
from ._parser import ProgressParser
from ._registry import register_renderer, renderer_names
from ._renderer import Renderer
from ._report import FileSaved, FrameRendered, Progress, RenderError, Report
from ._rule import GROUPS, Rule

__all__ = [
    "GROUPS",
    "ErrorCategory",
    "FileSaved",
    "FrameRendered",
    "Progress",
    "ProgressParser",
    "RenderError",
    "Renderer",
    "Report",
    "Rule",
    "register_renderer",
    "renderer_names",
]
