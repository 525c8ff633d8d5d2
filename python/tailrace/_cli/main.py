"""Where `tailrace` starts. Nothing is loaded before Ctrl-C ends the process in silence, and little for the version."""

# What `signal` is made of: to load that itself takes a while, and meanwhile Ctrl-C would leave a traceback.
import _signal  # type: ignore[import-not-found]
import os
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    _let_ctrl_c_end_the_process()
    if sys.argv[1:] == ["--version"] and _write_version():
        return
    from .root import run

    try:
        sys.exit(run())
    finally:
        # The interpreter's end is no better place for a traceback.
        _let_ctrl_c_end_the_process()


def _let_ctrl_c_end_the_process() -> None:
    """Have Ctrl-C do what it does to any program, where Python would raise `KeyboardInterrupt`.

    What was ignored when the process started stays ignored. What has to be cleaned up says so: see `cleanup`.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _write_version() -> bool:
    """Write the version, and return whether that worked; click would take longer than all the rest."""
    from tailrace import __version__

    try:
        os.write(1, f"tailrace {__version__}\n".encode())
    except OSError:
        return False
    return True
