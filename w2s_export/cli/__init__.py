"""The command line: one module per command, `w2s-export` alone being the main job."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Entry point: run the command line and exit.

    Ctrl-C ends in a line and its code from here on, while the command line itself is imported too.
    """
    code = 130  # as shells have it
    try:
        gc.disable()  # what is imported is no garbage
        from w2s_export.cli.app import start

        gc.freeze()
        gc.enable()
        code = start(sys.argv[1:])
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of what Python does at its end
    gc.freeze()  # at its end Python would look through all of it for garbage, for 0.05 to 0.4 s
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    from w2s_export.cli import app

    return app.run(arguments)
