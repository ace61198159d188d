"""The verdict as `report.html`: one file that opens anywhere, without a network.

Everything that comes from a package or an image is escaped; the page's script holds no data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from w2s_export import __version__
from w2s_export.io.files import write_atomically
from w2s_export.io.units import length_text
from w2s_export.resources import asset
from w2s_export.verify.chart import seam_chart
from w2s_export.verify.findings import Finding, Severity
from w2s_export.verify.page_sections import files, memory, section, table, timings, versions
from w2s_export.verify.pictures import (
    BEYOND,
    EQUAL,
    SMALLEST_SHOWN,
    Picture,
    difference_map,
    gradient,
    view,
)
from w2s_export.verify.report import Comparison, Kind, Report, SampleRuns, distinct
from w2s_export.verify.verdicts import Answer, Verdict

if TYPE_CHECKING:
    from w2s_export.network import HaloMeasurement

PAGE_NAME = "report.html"

_METER = (-9.0, 0.0)
"""Powers of ten at both ends of a meter in the table of differences."""


_CHIPS = {
    Answer.accepts: ("good", "✓"),
    Answer.accepts_with_warnings: ("warn", "✓"),
    Answer.refuses: ("bad", "✗"),
    Answer.unproven: ("warn", "?"),
    Answer.not_meant: ("", "–"),
}
"""Colour and mark of an answer."""


def write_page(
    report: Report, path: Path, title: str, seconds: Mapping[str, float] | None = None
) -> None:
    """Write `report.html`, at once or not at all; `seconds` are those of an export's stages.

    Raises:
        OutputError: the place cannot be written.
    """
    write_atomically(path, render_page(report, title, seconds or {}).encode("utf-8", "replace"))


def render_page(report: Report, title: str, seconds: Mapping[str, float]) -> str:
    """The page as text."""
    template = asset("bioimageio/templates/report.html").read_text(encoding="utf-8")
    kind, verdict = _verdict(report)
    counting = {one.client for one in report.judged}
    findings = sorted(report.findings, key=lambda one: not any(map(one.concerns, counting)))
    sections = [
        *(_comparison(report.sample) if report.sample else ()),
        *_clients(report.shown(), findings),
        *_findings(findings),
        *_parity(report),
        *(_differences(report.sample, report.tolerance) if report.sample else ()),
        *(_seams(report.halo) if report.halo else ()),
        *(memory(report.whole_image) if report.whole_image else ()),
        *_core(report),
        *files(report),
        *versions(report.environment),
        *timings(seconds, report.seconds),
    ]
    return Template(template).substitute(
        title=escape(title),
        verdict_kind=kind,
        verdict=escape(verdict),
        facts="".join(_facts(report)),
        sections="\n".join(sections),
        version=__version__,
        numbers="The same numbers are in <code>report.json</code>."
        if report.halo is not None  # an export's
        else "<code>w2s-export verify PACKAGE --json</code> prints the same numbers.",
    )


def _verdict(report: Report) -> tuple[str, str]:
    judged = report.judged
    if report.halo is not None:  # packages of our own
        if report.passed and (seams := report.halo.visible) is not None:
            return "warn", (
                "Every format gives the same image, but tiles show seams of up to "
                f"{seams:.1g} of the range."
            )
        if report.passed:
            return "good", "✓ Verified: every format gives the same image."
        errors = sum(finding.severity is Severity.error for finding in report.findings)
        noun = "fault" if errors == 1 else "faults"
        return "bad", f"✗ Not verified: {errors} {noun}. Do not publish these packages."
    answers = {verdict.answer for verdict in judged}
    words = ", ".join(f"{v.client.value} {v.answer.words}" for v in judged) or "meant for nobody"
    if report.rules_only:
        words += ". By the rules alone: nothing was run, no numbers were compared"
    if report.passed:
        return "good", f"✓ {words}"
    kind = "bad" if Answer.refuses in answers else "warn"
    return kind, f"{'✗' if kind == 'bad' else '?'} {words}"


def _facts(report: Report) -> Iterator[str]:
    worst, judged = report.worst(), report.judged
    accepting = sum(verdict.answer.takes for verdict in judged)
    passed = sum(test.passed for test in report.core_tests)
    if worst is not None:
        limit = f"of the range, between {worst.pair}; limit {report.tolerance:g}"
        yield _fact("Largest difference", f"{worst.max_relative:.1e}", limit)
    pairs = "pairs of client and package accept" if len(report.packages) > 1 else "clients accept"
    yield _fact("Clients", f"{accepting} of {len(judged)}", pairs)
    if report.core_tests:
        yield _fact("bioimageio.core", f"{passed} of {len(report.core_tests)}", "tests passed")
    if report.halo is not None:
        yield _fact("Halo", f"{report.halo.halo} px", "context of a tile, input pixels")
        yield _fact("Smallest image", f"{report.halo.minimum} px", "that clients may restore")


def _fact(term: str, value: str, unit: str) -> str:
    return f"<div><dt>{term}</dt><dd>{escape(value)}<small>{escape(unit)}</small></dd></div>"


def _comparison(sample: SampleRuns) -> Iterator[str]:
    before, after = view(sample.image), view(sample.restored)
    height, width = sample.image.shape[1:]
    field = "" if sample.pixel_size_um is None else f'data-field="{width * sample.pixel_size_um}"'
    bar = '<div id="scalebar" aria-hidden="true"><i></i><b></b></div>' if field else ""
    words = f"Sample: {sample.name}. " if sample.name else ""
    yield section(
        "Input and restored image",
        f"""<div id="stage" tabindex="0" role="group" {field}
 aria-label="Picture. Plus and minus zoom, zero fits, arrows move the zoomed picture."
 style="aspect-ratio: {width} / {height}; width: min(100%, 85vh * {width / height:.4f})">
<div class="layer input"><img src="{before.uri}" alt="input" draggable="false">
<span>input</span></div>
<div class="layer restored"><img src="{after.uri}" alt="restored" draggable="false">
<span>restored</span></div>
<div id="divider" role="slider" tabindex="0" aria-label="Divider between input and restored image"
 aria-valuemin="0" aria-valuemax="100" aria-valuenow="50"></div>{bar}
</div>
<div class="tools"><button id="zoom-out" type="button" aria-label="Zoom out">−</button>
<button id="zoom-in" type="button" aria-label="Zoom in">+</button>
<button id="zoom-fit" type="button">Fit</button>
<output id="zoom-level" class="number" aria-live="polite">1.0×</output></div>
<p>{escape(words)}Input {_pixels(sample.image.shape, sample.pixel_size_um)}; restored
{_pixels(sample.restored.shape, sample.output_pixel_size_um)}.</p>
<p class="soft">Drag the divider, or use the arrow keys on it. Double-click, pinch or
Ctrl + wheel to zoom, then drag the picture. Each side is shown between its own 0.5 % and 99.8 %
percentiles{_reduced(after)}.</p>""",
    )


def _pixels(shape: tuple[int, ...], size_um: float | None) -> str:
    extent = f"{shape[2]}×{shape[1]} pixels"
    if size_um is None:
        return extent
    return f"{extent} of {length_text(size_um)}"


def _reduced(picture: Picture) -> str:
    if picture.reduced == 1:
        return ""
    return f"; for this page {picture.reduced}×{picture.reduced} pixels became one"


def _clients(verdicts: Sequence[Verdict], findings: Sequence[Finding]) -> Iterator[str]:
    rows = []
    for verdict in verdicts:
        numbers = [findings.index(finding) + 1 for finding in verdict.findings]
        links = ", ".join(
            f'<a href="#finding-{number}">{escape(finding.code.value)}</a>'
            for number, finding in zip(numbers, verdict.findings, strict=True)
        )
        kind, mark = _CHIPS[verdict.answer]
        rows.append(
            (
                escape(verdict.client.value),
                f"<code>{escape(verdict.package)}</code>",
                f'<span class="chip {kind}">{mark} {escape(verdict.answer.words)}</span>',
                f"<span>{links}</span>" if links else "",  # on a phone a cell lays out its parts
            )
        )
    if rows:
        yield section("Clients", table(("client", "package", "verdict", "findings"), rows))


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    if findings:
        yield section(
            "Findings and what to do",
            "".join(_finding(number, finding) for number, finding in enumerate(findings, 1)),
        )


def _finding(number: int, finding: Finding) -> str:
    minds = ", ".join(client.value for client in finding.clients) or "every client"
    kind = {Severity.error: "bad", Severity.warning: "warn", Severity.note: ""}[finding.severity]
    place = ": ".join(filter(None, (finding.package, finding.where)))
    remedy = f"<p><b>Remedy:</b> {escape(finding.remedy)}</p>" if finding.remedy else ""
    quote = f"<blockquote>{escape(finding.because)}</blockquote>" if finding.because else ""
    return (
        f'<div class="finding {finding.severity.value}" id="finding-{number}">'
        f'<span class="chip {kind}">{finding.severity.value}</span> '
        f"<b>{escape(finding.code.value)}</b> <code>{escape(place)}</code>"
        f'<p>{escape(finding.message)}</p>{remedy}<p class="soft">Concerns {escape(minds)}.</p>'
        f"{quote}</div>"
    )


def _parity(report: Report) -> Iterator[str]:
    rows = distinct(report.parity)
    formats = [_parity_row(row, row.subject) for row in rows if row.kind is not Kind.file]
    contents = [
        _parity_row(row, f"{row.package}: {row.subject}") for row in rows if row.kind is Kind.file
    ]
    columns = ("what", "on", "against", "largest difference", "of the range", "PSNR")
    text = table(columns, formats)
    if contents:
        text += (
            "<details><summary>Test tensors, samples and preprocessing of the packages "
            f"({len(contents)})</summary>{table(columns, contents)}</details>"
        )
    if report.parity:
        tiles = f", tiles {report.seam_limit:.3g}" if report.seam_limit is not None else ""
        smaller = (
            f" Sizes below {report.halo.minimum} pixels, the smallest image that the packages "
            "allow for the sake of their halo, are compared as well: the formats must agree there "
            "too."
            if report.halo is not None and report.halo.minimum > 1
            else ""
        )
        yield section(
            "The same image in every format",
            f'<p class="soft">Limits: outputs {report.tolerance:.3g}{tiles} of the output\'s '
            f"range; meters go from 1e-9 to 1.{smaller}</p>{text}",
        )


def _parity_row(row: Comparison, subject: str) -> tuple[str, ...]:
    psnr = "equal" if row.psnr_db == math.inf else f"{row.psnr_db:.1f} dB"
    return (
        escape(subject),
        escape(row.case),
        escape(row.against),
        f'<span class="number">{row.max_abs:.1e}</span>',
        f'<span><span class="number">{row.max_relative:.1e}</span> {_meter(row.max_relative)}'
        "</span>",
        f'<span class="number">{psnr}</span>',
    )


def _meter(value: float) -> str:
    low, high = _METER
    power = math.log10(value) if 0 < value < math.inf else (high if value else low)
    share = 100 * min(1.0, max(0.0, (power - low) / (high - low)))
    return f'<span class="meter" aria-hidden="true"><i style="width: {share:.0f}%"></i></span>'


def _differences(sample: SampleRuns, limit: float) -> Iterator[str]:
    figures = []
    for subject, output in sample.outputs.items():
        if output.shape != sample.restored.shape:
            figures.append(
                f"<figure><figcaption><b>{escape(subject)}</b>: gives {output.shape} where the "
                f"source gives {sample.restored.shape}</figcaption></figure>"
            )
            continue
        picture = difference_map(sample.restored, output, limit)
        figures.append(
            f'<figure><img src="{picture.uri}" width="{picture.width}" height="{picture.height}" '
            f'alt="difference of {escape(subject)} from the source">'
            f"<figcaption><b>{escape(subject)}</b>{_reduced(picture)}</figcaption></figure>"
        )
    if figures:
        yield section(
            "Where formats differ from the source",
            f"""<div class="maps">{"".join(figures)}</div>
<p class="legend"><span><span class="swatch" style="background: #{EQUAL}"></span> none</span>
<span class="number">{SMALLEST_SHOWN:g}</span>
<span class="ramp" style="background: {gradient()}"></span>
<span class="number">{limit:g}</span>
<span><span class="swatch" style="background: #{BEYOND}"></span> beyond the limit</span></p>
<p class="soft">On the sample, absolute difference as a part of the output's range, log scale, the
same in every map. Differences near 1e-7 are float32 sums in another order.</p>""",
        )


def _seams(halo: HaloMeasurement) -> Iterator[str]:
    chart = seam_chart(halo, halo.tolerance)
    if chart:
        yield section(
            "Seams between tiles against the halo",
            f'{chart}<p class="soft">Largest seam, part of the output\'s range, on the busiest '
            "part of the sample; the chosen halo is confirmed by restoring the whole sample in "
            "four tiles.</p>",
        )


_TESTS = {"passed": ("good", "✓"), "failed": ("bad", "✗")} | dict.fromkeys(
    ("not-run", "unavailable"), ("warn", "?")
)


def _core(report: Report) -> Iterator[str]:
    rows = [
        (
            f"<code>{escape(test.package)}</code>",
            escape(test.format),
            f'<span class="chip {_TESTS[test.result.value][0]}">'
            f"{_TESTS[test.result.value][1]} {test.result.words}</span>",
            "" if test.seconds is None else f'<span class="number">{test.seconds:.1f} s</span>',
            escape("; ".join(test.errors)[:1000]),
        )
        for test in report.core_tests
    ]
    if rows:
        columns = ("package", "weights", "result", "time", "errors")
        yield section("bioimageio.core's own test", table(columns, rows))
