"""Runs a command; exit code 0: good, 1: a check found something, 2: bad input.

Each command parses, calls one function, prints and returns a code. A command's module is imported
when it is asked for, and imports nothing heavy before it runs.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
from difflib import get_close_matches
from typing import get_args

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter
from cyclopts.exceptions import CoercionError, MissingArgumentError, UnusedCliTokensError

from w2s_export import __version__
from w2s_export.cli.console import LogFormatter, console, errors, fit_to_terminal, styled
from w2s_export.cli.export import export_command
from w2s_export.cli.loading import load_tensorflow_quietly
from w2s_export.errors import ConfigError, W2SExportError

app = App(
    suppress_keyboard_interrupt=False,  # what was kept is said below
    help_format="plaintext",  # Markdown would double the time to show help
    default_parameter=Parameter(negative="", consume_multiple=True),
    name="w2s-export",
    version=__version__,
    console=console,
    error_console=errors,
    help="Turn a trained microscopy super-resolution network into packages that run in DeepImageJ "
    "and the bioimage.io zoo, and prove that every format gives the same image.\n\n"
    "Every command takes --quiet: warnings and errors are printed, and nothing else.",
)
app.default(export_command)


def _whole_numbers(_: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse 2.5 where a whole number is meant; Cyclopts would round it."""
    for argument in arguments:
        values = (argument.hint, *get_args(argument.hint))  # of int | None, Literal[16, 32]
        if int in {value if isinstance(value, type) else type(value) for value in values}:
            for token in argument.tokens:
                if re.fullmatch(r"[^.]*\.0*[1-9].*", token.value):
                    raise ConfigError(
                        f"{argument.name}: must be a whole number, got {token.value!r}"
                    )


def _no_addresses(_: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse addresses where files are meant: nothing is fetched."""
    for argument in arguments:
        for token in argument.tokens:
            if re.match(r"(https?|ftp|s3|gs)://", token.value):
                raise ConfigError(
                    f"{argument.name}: {token.value} is an address; download it, and give the file"
                )


app.config = (_whole_numbers, _no_addresses)
_VERDICTS = """

Verdicts: accepts; accepts with warnings; refuses; not meant for (the package is made for other
clients); unproven (nothing speaks against it, but not all weights that it runs were compared).

Exit code 0: every client asked about accepts the package. 1: one refuses it, or it is not meant
for one, or unproven there. 2: the file cannot be read, or an option is wrong."""
COMMANDS = (
    ("inspect", "Show what a checkpoint is, and whether it can be exported."),
    ("restore", "Restore images of any size."),
    ("verify", f"Say in which clients any bioimage.io package will run, and why not.{_VERDICTS}"),
    ("submit", "Check a package as the zoo does, and send it to the zoo or to Hugging Face."),
    ("simulate", "Simulate pairs of widefield and SIM images."),
    ("train", "Train a generator on paired images."),
    ("evaluate", "Compare checkpoints and bicubic enlargement on paired images."),
)
for name, says in COMMANDS:
    app.command(f"w2s_export.cli.{name}:{name}_command", name=name, help=says)
app.register_install_completion_command(
    name="--install-completion", help="Let the shell complete commands and options with Tab."
)


QUIET = "--quiet"
_ASKED_FOR = {"--help", "-h", "--version", "--install-completion"}
"""What is printed in spite of it."""
OPTIONAL_LIBRARIES = ("tensorflow", "keras", "tf2onnx", "bioimageio")
"""Dependencies that an installation may do without (docs/how-to/install.md)."""
_HOW_TO_GO_ON = {
    "train": "; it goes on with --resume.",
    "restore": ". What is finished is kept; the same command goes on with the rest.",
}
"""What an interruption leaves, and how to go on."""


_NUMBERS = {int: "whole number", float: "number"}
_OUTPUT_CLOSED = 141
"""Exit code where nobody reads the output: that of programs which SIGPIPE ends."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PATH_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.EIO),
)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, as batch systems send it: temporary files go, what is finished is kept."""


def _terminate(*_: object) -> None:
    raise _TerminatedError


def start(arguments: list[str]) -> int:
    """Run the command line as this process's own job, which SIGTERM ends as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _terminate)
    return run(arguments)


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    # TensorFlow's C++ log says nothing a user could act on.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Pydantic would look through all installed packages for plugins, which we have none of.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    load_tensorflow_quietly()
    fit_to_terminal()
    console.quiet = QUIET in arguments and not _ASKED_FOR.intersection(arguments)
    arguments = [argument for argument in arguments if argument != QUIET]
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # Nor do its deprecations (the version-1 SavedModel is on purpose) or the TIFF reader's notes.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds, we name
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it wants no more, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _OUTPUT_CLOSED
    except CycloptsError as error:
        return _failed(_misuse(error))
    except W2SExportError as error:
        return _failed(str(error))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in OPTIONAL_LIBRARIES:
            raise
        return _failed(
            f"this needs {missing}, which is not installed: python -m pip install w2s-export"
        )
    except OSError as error:
        # What a disk or its rights refuse, any command may meet; other errors of files are bugs.
        if error.errno in _DISK_ERRORS:
            return _failed(f"{error.filename or 'a file'}: cannot be written: {error.strerror}")
        if error.errno in _PATH_ERRORS and error.filename:
            return _failed(f"{error.filename}: cannot be read or written: {error.strerror}")
        raise
    except KeyboardInterrupt as stop:
        errors.print(f"Interrupted{_HOW_TO_GO_ON.get(arguments[0] if arguments else '', '.')}")
        return 143 if isinstance(stop, _TerminatedError) else 130
    return code if isinstance(code, int) else 0


def _misuse(error: CycloptsError) -> str:
    """What is wrong with a command line, and what to do; Cyclopts' own words where they say it."""
    manual = " ".join(["w2s-export", *(error.command_chain or ()), "--help"])
    if type(error) is MissingArgumentError and error.argument is not None:
        given = {*error.argument.names}.intersection(error.root_input_tokens or ())
        what = "has no value" if given else "is missing"
        return f"{error.argument.name} {what}; {manual} says what to give"
    if isinstance(error, CoercionError) and error.token and error.target_type in _NUMBERS:
        kind = _NUMBERS[error.target_type]
        return f"{error.token.keyword}: must be a {kind}, got {error.token.value!r}"
    if not isinstance(error, UnusedCliTokensError) or not error.unused_tokens:
        return str(error)
    token = error.unused_tokens[0]
    if error.command_chain:
        return f"{token}: is one argument too many; {manual} says what to give"
    names = [name for name, _ in COMMANDS]
    near = get_close_matches(token, names, n=1)
    others = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
    return f"{token}: is no command; {others} Weights to export are given as --weights FILE"


def _failed(message: str) -> int:
    errors.print(styled(("Error:", "bold red"), f" {message}"), soft_wrap=True)
    return 2
