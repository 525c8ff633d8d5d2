"""The scripts that the suite runs, and what they write."""

from __future__ import annotations

EVERY_BYTE = bytes(range(256))


def print_every_byte() -> str:
    """Return the command of a shell that writes `EVERY_BYTE`."""
    octal = "".join(f"\\0{byte:03o}" for byte in EVERY_BYTE)
    return f"printf %b '{octal}'"


LARGE = b"".join(b"%015d\n" % number for number in range(2**19))
"""8 MiB, of which no part is like another."""

LARGE_SCRIPT = "awk 'BEGIN { for (i = 0; i < 524288; i++) printf \"%015d\\n\", i }'"


def lasting(mark: str, *, first: str = ":", at_term: str | None = None) -> str:
    """Return a script that does `first`, and then runs until it is ended or for minutes, as does what it starts.

    `at_term` is what it does when it is asked to terminate: "ignore" to go on, or what it does before it exits with 7.
    """
    action = "" if at_term == "ignore" else f"{at_term}; exit 7"
    trap = "" if at_term is None else f"trap '{action}' TERM; "
    # Both shells stay, since something comes after what they wait for, and both have the mark in their command lines.
    # An adapter that leaves them behind does not do so for ever.
    loop = "i=0; while [ $i -lt 200 ]; do sleep 1; i=$((i + 1)); done"
    return f"{trap}{first}; sh -c '{loop}; : {mark}' & wait; : {mark}"
