"""The renderers that are known by name."""

from __future__ import annotations

from ._renderer import Renderer
from ._renderers import BUILT_IN

_renderers = {renderer.name: renderer for renderer in BUILT_IN}


def register_renderer(renderer: Renderer, *, replace: bool = False) -> None:
    """Make `renderer` known by its name, and to parsers that find out the renderer themselves.

    Raises `ValueError` if the name is taken, unless `replace` is True.
    """
    if renderer.name in _renderers and not replace:
        raise ValueError(f"there is a renderer {renderer.name!r} already; replace=True takes its place")
    # The last one registered is looked at first.
    _renderers.pop(renderer.name, None)
    _renderers[renderer.name] = renderer


def renderer_names() -> list[str]:
    """Return the names of all renderers, sorted."""
    return sorted(_renderers)


def renderer_named(name: str) -> Renderer:
    """Return the renderer called `name`. Raises `ValueError`, which lists the known ones, if there is none."""
    try:
        return _renderers[name]
    except KeyError:
        raise ValueError(f"no renderer is called {name!r}; known are: auto, {', '.join(renderer_names())}") from None


def renderers() -> tuple[Renderer, ...]:
    """Return all renderers, the newest first."""
    return tuple(reversed(_renderers.values()))
