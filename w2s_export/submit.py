"""Brings a package to the bioimage.io zoo, or to Hugging Face: checked first, sent only when told.

The zoo's own client uploads it (`bioimageio.spec.upload`), and so does the one for Hugging Face,
which also writes the model card of a repository there from `config.bioimageio` of the rdf.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.errors import ConfigError, MissingExtraError, OutputError, PackageError
from w2s_export.foreign_text import markdown
from w2s_export.package.opening import OpenedPackage, open_package
from w2s_export.rdf.metadata import AUTHOR_NOT_STATED, NOT_STATED
from w2s_export.rdf.reading import at, listed
from w2s_export.verify.findings import Client, Code, Finding, Severity

if TYPE_CHECKING:
    from w2s_export.verify.report import Report

TOKEN = "BIOIMAGEIO_HYPHA_UPLOAD_TOKEN"  # noqa: S105 - the name of the variable
"""Environment variable that bioimageio.spec takes the zoo's token from."""

_TOKEN_MADE = (
    "make a token at https://bioimage.io/#/api?tab=hypha-rpc (that agrees to the terms of service "
    f"at https://bioimage.io/#/toc), and set it as {TOKEN}"
)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def submission_steps(package: Path) -> list[str]:
    """How a package gets into the zoo, a line each: on the web, or by the zoo's own client."""
    lines = [
        "On the web: log in at https://bioimage.io, choose Upload, and drop the zip there.",
        f"From here: {_TOKEN_MADE}; then w2s-export submit {shlex.quote(str(package))} --yes",
        "A reviewer of the zoo then answers the maintainer on GitHub; the zoo chooses the id and "
        "its emoji.",
    ]
    if _zoo_client() is None:
        lines[1] = (
            "From here: this bioimageio.spec cannot upload; bring it up to date (python -m pip "
            "install --upgrade bioimageio.spec), and submit again."
        )
    return lines


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the zoo asks for."""

    topic: str
    missing: tuple[str, ...]
    """What is to be done; empty where it is in order."""
    untested: tuple[str, ...] = ()
    """What the zoo will test, and could not be tested here."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What was checked, and what became of the package."""

    checks: tuple[Check, ...]
    report: Report
    sent: str = ""
    """Address of what was sent; empty: nothing was."""
    prepared: Path | None = None
    """Folder with the files for Hugging Face."""

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not any(check.missing for check in self.checks)


def submit(
    package: Path,
    *,
    yes: bool = False,
    hugging_face: str | None = None,
    output: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Submission:
    """Check a package as the zoo does, and send it if everything holds and `yes` says so.

    Args:
        package: a zip of format 0.5, `NAME.bioimageio.zip`.
        yes: send it. Without it nothing leaves this machine.
        hugging_face: send it there instead, to this USER or USER/REPOSITORY.
        output: folder for the files as Hugging Face gets them; must be empty or new.
        progress: called with a short text when a step begins.

    Raises:
        PackageError: the zip cannot be read, or is of format 0.4.
        ConfigError: with `yes`, no token; or no such name of a repository.
        OutputError: the folder holds something already.
        MissingExtraError: with `yes`, the client that uploads is not installed.
    """
    from w2s_export.verify.verify import verify

    opened = open_package(package)
    if not str(opened.rdf.get("format_version", "")).startswith("0.5"):
        raise PackageError(
            f"{package}: has format {opened.rdf.get('format_version')}; the zoo takes format 0.5, "
            "give NAME.bioimageio.zip"
        )
    _check_request(yes, hugging_face, output)
    report = verify(package, asked=(Client.zoo,), progress=progress)
    checks = tuple(_checks(opened, report))
    submission = Submission(checks, report)
    if hugging_face is None:
        if not (yes and submission.ready):
            return submission
        progress("sending to the zoo")
        return Submission(checks, report, sent=_send_to_zoo(package))
    send = yes and submission.ready
    if not send and output is None:
        return submission
    progress("sending to Hugging Face" if send else "preparing for Hugging Face")
    address = _to_hugging_face(opened, package, hugging_face, output, send)
    return Submission(checks, report, sent=address if send else "", prepared=output)


def _check_request(yes: bool, hugging_face: str | None, output: Path | None) -> None:
    """Whatever would fail after minutes of verification."""
    if hugging_face is not None and not _REPOSITORY.fullmatch(hugging_face):
        raise ConfigError(f"'{hugging_face}' names no repository; write USER or USER/REPOSITORY")
    if output is not None and hugging_face is None:
        raise ConfigError("--output is for the files of --hugging-face; give both")
    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output}: is not an empty folder; choose another --output")
    if not yes:
        return
    if hugging_face is not None and find_spec("huggingface_hub") is None:
        raise MissingExtraError(
            "huggingface_hub is not installed; install it (python -m pip install huggingface_hub), "
            "log in with `hf auth login`, and submit again"
        )
    if hugging_face is not None:
        return
    if _zoo_client() is None:
        raise MissingExtraError(
            "this bioimageio.spec cannot upload; install a newer one, or log in at "
            "https://bioimage.io, choose Upload, and drop the zip there"
        )
    if not os.environ.get(TOKEN):
        raise ConfigError(f"there is no token of the zoo; {_TOKEN_MADE}")


_TOPICS: tuple[tuple[str, tuple[Code, ...], tuple[str, ...]], ...] = (
    ("maintainer", (Code.metadata_incomplete,), ("maintainers",)),
    ("authors", (Code.metadata_incomplete,), ("authors",)),
    ("description", (Code.metadata_incomplete,), ("description",)),
    ("citations", (Code.metadata_incomplete,), ("cite",)),
    ("licence", (Code.metadata_incomplete, Code.license_unknown), ("license",)),
    ("tags", (Code.metadata_incomplete,), ("tags",)),
    ("README", (Code.metadata_incomplete, Code.readme_validation), ("documentation",)),
    ("cover", (Code.cover_unsuitable,), ()),
    ("id and emoji", (Code.id_set,), ()),
)
"""Topic, codes of findings about it, and for `metadata-incomplete` the field."""
_UNTESTED = (Code.weights_not_run, Code.core_not_run)


def _checks(package: OpenedPackage, report: Report) -> Iterator[Check]:
    findings = [f for f in report.findings if f.concerns(Client.zoo)]
    placeholders = dict(_placeholders(package))
    told: set[int] = set()
    for topic, codes, fields in _TOPICS:
        about = [
            number
            for number, finding in enumerate(findings)
            if finding.code in codes
            and (finding.code is not Code.metadata_incomplete or finding.where in fields)
        ]
        told.update(about)
        missing = [_words(findings[number]) for number in about]
        yield Check(topic, (*missing, *placeholders.get(topic, ())))
    rest = [finding for number, finding in enumerate(findings) if number not in told]
    others = [
        _words(finding)
        for finding in rest
        if finding.severity is not Severity.note or finding.code is Code.core_unavailable
    ]
    untested = [_words(finding) for finding in rest if finding.code in _UNTESTED]
    verdict = report.judged[0]
    if not others and not verdict.answer.takes and verdict.meant:
        others = [f"the zoo's verdict is: {verdict.answer.words}"]
    topic = "opens, and gives the same numbers at the default tolerances"
    yield Check(topic, tuple(others), tuple(untested))


def _placeholders(package: OpenedPackage) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What stands there only because nobody said better, and tags that the zoo sorts by."""
    rdf = package.rdf
    if any(at(author, "name") == AUTHOR_NOT_STATED for author in listed(rdf, "authors")):
        yield "authors", ("are not stated; name them with --metadata",)
    if any(at(cite, "text") == NOT_STATED.text for cite in listed(rdf, "cite")):
        yield "citations", ("are not stated; name a paper with --metadata",)
    absent = _absent_categories({tag for tag in listed(rdf, "tags") if isinstance(tag, str)})
    if absent:
        yield "tags", tuple(f"none of its {name}: {', '.join(some)}" for name, some in absent)


def _absent_categories(tags: set[str]) -> list[tuple[str, list[str]]]:
    """The zoo's kinds of tags of which there is none (bioimageio.spec, tag_categories.json)."""
    import json

    spec = find_spec("bioimageio.spec")
    for folder in (spec and spec.submodule_search_locations) or ():
        listing = Path(folder) / "static" / "tag_categories.json"
        if listing.is_file():
            known: dict[str, list[str]] = json.loads(listing.read_text("utf-8"))["model"]
            return [(name, some) for name, some in known.items() if not tags & set(some)]
    return []


def _words(finding: Finding) -> str:
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"{finding.where}: {finding.message}{remedy}"


def _nickname(package: OpenedPackage) -> Any:
    return at(package.rdf, "config", "bioimageio", "nickname") or package.rdf.get("name")


def _zoo_client() -> Callable[[Path], Any] | None:
    """What uploads; None where bioimageio.spec is too old for it."""
    try:
        from bioimageio.spec import upload
    except ImportError:
        return None
    client: Callable[[Path], Any] = upload
    return client


def _send_to_zoo(package: Path) -> str:
    upload = _zoo_client()
    assert upload is not None  # noqa: S101 - asked before anything was verified
    try:
        return str(upload(package))
    except Exception as error:  # of the web, the server or the client, which share no class
        raise OutputError(f"the zoo did not take it: {_first_line(error)}") from None


def _to_hugging_face(
    opened: OpenedPackage, package: Path, name: str, output: Path | None, send: bool
) -> str:
    """Write what a repository there holds, and send it if asked; its address."""
    try:
        from bioimageio.spec import load_model_description
        from bioimageio.spec._hf import push_to_hub
        from bioimageio.spec.model.v0_5 import ModelDescr, ModelId
    except ImportError:
        raise MissingExtraError(
            "this bioimageio.spec does not know Hugging Face; install a newer one"
        ) from None
    user, _, repository = name.partition("/")
    model = load_model_description(package, perform_io_checks=False)
    if not isinstance(model, ModelDescr):
        raise PackageError(f"{package}: is of format {model.format_version}, not of 0.5")
    repository = repository or re.sub(r"[^a-z0-9_.-]", "-", str(_nickname(opened)).lower())
    model.id = ModelId(repository)
    data = at(opened.rdf, "config", "w2s_export", "export", "metadata", "data")
    try:
        with _card_mended(data if isinstance(data, str) else ""):
            push_to_hub(model, user, prep_dir=output, prep_only_no_upload=not send)
    except Exception as error:
        raise OutputError(f"Hugging Face did not take it: {_first_line(error)}") from None
    return f"https://huggingface.co/{user}/{repository}"


@contextmanager
def _card_mended(data: str) -> Iterator[None]:
    """Have bioimageio.spec write a card that names the training data and shows the result.

    Its card (0.5.12) knows only data sets of the zoo, by their id, and calls others "missing"; and
    the link to the picture of the output lacks its beginning.
    """
    from bioimageio.spec import _hf

    written = _hf.create_huggingface_model_card

    def mended(*arguments: Any, **keywords: Any) -> tuple[str, dict[str, bytes]]:
        card, pictures = written(*arguments, **keywords)
        missing = "\n## Training Data\n\nmissing\n"
        if data:
            card = card.replace(missing, missing.replace("missing", markdown(data)), 1)
        return re.sub(r"^( +)(?=[\w-]+ sample\]\(images/)", r"\1![", card, flags=re.M), pictures

    _hf.create_huggingface_model_card = mended
    try:
        yield
    finally:
        _hf.create_huggingface_model_card = written


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
