"""A renderer's rules, arranged for the search."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from .._errors import ErrorCategory
from ._renderer import Renderer
from ._renderers import COMMON_RULES, OPENJD_RULES
from ._rule import Rule

_MEASURES = ("percent", "fraction", "done", "time")
_MOST_SELECTIONS = 256
_FRAME = "frame"
_FRAMES = (_FRAME, "rendered")


class PlannedRule(NamedTuple):
    """A rule, and how complete a line is that it matches."""

    trigger: str
    rule: Rule
    frames: tuple[str, ...] | None
    """One of these groups must tell the frame, if any line of the renderer tells it."""
    measures: tuple[str, ...]
    """One of these groups must tell the progress."""


class Meaning(NamedTuple):
    """What a line says."""

    planned: PlannedRule
    match: re.Match[str]

    @property
    def is_complete(self) -> bool:
        """Whether what such lines said before counts no more."""
        planned = self.planned
        if not planned.measures or not _has_one_of(planned.measures, self.match):
            return False
        return planned.frames is None or _has_one_of(planned.frames, self.match)


def _has_one_of(names: tuple[str, ...], match: re.Match[str]) -> bool:
    # Faster than any() for so few.
    for name in names:  # noqa: SIM110
        if match[name] is not None:
            return True
    return False


@functools.lru_cache(maxsize=64)
def plan_of(renderer: Renderer) -> Plan:
    """Return the plan of a renderer: one for all the commands that run it."""
    return Plan(renderer)


class Plan:
    """What to look for in the output of a renderer, and how to understand a line in which it was found."""

    def __init__(self, renderer: Renderer) -> None:
        self.name = renderer.name
        self.encoder = renderer.encoder
        rules = _with_common_rules(renderer.rules)
        whole = _shortest({rule.trigger for rule in rules if rule.whole})
        every = _shortest({rule.trigger for rule in rules if not rule.whole})
        newest = {text for text in whole if not any(other in text for other in every)}
        if any(rule.whole and _tells_frames(rule) for rule in rules):
            # Those before the newest count too: for the frames that they tell, and for how much of each was done.
            every, newest = _shortest(every | whole), set()
        self.triggers = [(trigger.encode(), rarest_of(trigger.encode())) for trigger in sorted(every)]
        """In every line that holds one of these something may happen; each comes with its rarest character."""
        self.newest_triggers = [trigger.encode() for trigger in sorted(newest)]
        """Of the lines that hold one of these, the newest counts."""
        self.texts = (*(trigger for trigger, _ in self.triggers), *self.newest_triggers)
        """All of these: other lines mean nothing."""
        self.whole_groups = frozenset(name for rule in rules if rule.whole for name in rule.regex.groupindex)
        """Everything that lines tell of which the newest counts."""
        self.whole_of = frozenset(rule.of for rule in rules if rule.whole)
        """What they measure."""
        self._rules = [PlannedRule(rule.trigger, rule, *self._groups_of_complete(rule)) for rule in rules]
        self._rules_for: dict[tuple[bytes, ...], list[PlannedRule]] = {}

    def rules_for(self, texts: tuple[bytes, ...]) -> list[PlannedRule]:
        """Return the rules that may match a line of output that holds no other of `self.texts` than these."""
        rules = self._rules_for.get(texts)
        if rules is None:
            held = [text.decode() for text in texts]
            rules = [planned for planned in self._rules if any(text in planned.trigger for text in held)]
            if len(self._rules_for) < _MOST_SELECTIONS:
                self._rules_for[texts] = rules
        return rules

    def _groups_of_complete(self, rule: Rule) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """Return the groups of which one must tell the frame, if any must, and of which one must tell the progress."""
        groups = rule.regex.groupindex
        frames = tuple(name for name in _FRAMES if name in groups) if self.whole_groups & set(_FRAMES) else None
        return frames, _measures_of(rule) if rule.whole else ()


def meaning_of(line: str, rules: list[PlannedRule]) -> Meaning | None:
    """Return what the first of the rules that matches makes of a line."""
    # Rules with the same trigger follow each other as a rule.
    last, held = "", False
    for planned in rules:
        trigger = planned.trigger
        if trigger != last:
            last, held = trigger, trigger in line
        if held:
            match = planned.rule.regex.search(line)
            if match is not None:
                return Meaning(planned, match)
    return None


def _tells_frames(rule: Rule) -> bool:
    return _FRAME in rule.regex.groupindex or (rule.of == "frame" and _measures_of(rule) not in ((), ("time",)))


def _measures_of(rule: Rule) -> tuple[str, ...]:
    return tuple(name for name in _MEASURES if name in rule.regex.groupindex)


def common_category(line: str) -> ErrorCategory | None:
    """Return what a line is about that holds what any program may print."""
    return next((rule.category for rule in COMMON_RULES if rule.trigger in line and rule.regex.search(line)), None)


@functools.lru_cache(maxsize=1024)
def rarest_of(text: bytes) -> bytes:
    """Return the character of `text` that is the least likely in ordinary output."""
    return max(text, key=rarity).to_bytes()


def _with_common_rules(own: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Add the rules that count whatever the renderer is, at the places where they say more than those behind them."""
    place = 0
    for at, rule in enumerate(own):
        if "error" in rule.regex.groupindex:
            if not rule.fatal and rule.category in (None, "scene"):
                place = at
                break
            place = at + 1
    return (*OPENJD_RULES, *own[:place], *COMMON_RULES, *own[place:])


def _shortest(triggers: set[str]) -> set[str]:
    """Leave out those that contain another: the lines that hold them are found by the shorter one."""
    return {trigger for trigger in triggers if not any(other in trigger for other in triggers - {trigger})}


def rarity(character: int) -> int:
    """Return how unlikely a character is in ordinary output."""
    # What is not listed, such as "_", "|" and "%", is the rarest.
    place = " etaoinshrdlcumwfgypbvkjxqz0123456789.:/-,()TSAIMCPBDRFLNHWGUOVKYJEXZQ".find(chr(character))
    return place if place >= 0 else 100
