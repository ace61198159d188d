"""`w2s-export submit`: a package on its way to the zoo or to Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from w2s_export.cli.console import announce, console, options_of, styled
from w2s_export.options import SubmitOptions

if TYPE_CHECKING:
    from w2s_export.submit import Submission


DEFAULTS = SubmitOptions()


def submit_command(
    package: Path, /, *, options: Annotated[SubmitOptions, options_of(SubmitOptions)] = DEFAULTS
) -> int:
    """Check a package as the zoo does, and send it there with --yes.

    Parameters
    ----------
    package
        NAME.bioimageio.zip.
    """
    from w2s_export.api import submit

    with console.status("Starting") as status:
        submission = submit(
            package,
            **vars(options),
            progress=lambda stage: announce(stage, status),
        )
    print_submission(submission, package, options.hugging_face)
    return 0 if submission.ready else 1


def print_submission(submission: Submission, package: Path, hugging_face: str | None) -> None:
    """A line per topic, then what happened and what comes next."""
    from w2s_export.submit import submission_steps

    for check in submission.checks:
        mark = ("✗ ", "red") if check.missing else ("✓ ", "green")
        if check.untested and not check.missing:
            mark = ("? ", "yellow")
        console.print(styled(mark, check.topic), highlight=False)
        for text in (*check.missing, *(f"not tested here: {one}" for one in check.untested)):
            console.print(f"    {text}", soft_wrap=True, highlight=False)
    if submission.prepared is not None:
        console.print(f"Files for Hugging Face: {submission.prepared}", soft_wrap=True)
    if submission.sent:
        console.print(styled(("Sent: ", "bold green"), submission.sent), soft_wrap=True)
    elif not submission.ready:
        console.print("Nothing was sent: mend what is marked, export again, then submit.")
    elif hugging_face is not None:
        console.print("Ready; nothing was sent. Send it with --yes.")
    else:
        console.print("Ready; nothing was sent. To send it:")
        for step in submission_steps(package):
            console.print(f"- {step}", soft_wrap=True, highlight=False)
