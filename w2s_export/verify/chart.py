"""The seam between tiles against the halo, as SVG inside the page."""

from __future__ import annotations

import math
from html import escape

from w2s_export.network import HaloMeasurement

_WIDTH, _HEIGHT = 420, 270  # narrow: on a phone its letters stay readable
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 46


def seam_chart(halo: HaloMeasurement, limit: float) -> str:
    """Largest seam (log scale) of each halo tried, the tolerance, and the halo that was chosen.

    Args:
        halo: the measurement; one without a curve gives an empty string.
        limit: largest seam allowed, part of the output's range.
    """
    if not halo.seams:
        return ""
    last = max(halo.halo, max(tried for tried, _ in halo.seams), 1)
    positive = [seam for _, seam in halo.seams if 0 < seam < math.inf]
    bottom = math.floor(math.log10(min([limit / 10, *positive])))
    top = max(0, math.ceil(math.log10(max([limit, *positive]))))

    def x(tried: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * tried / last

    def y(seam: float) -> float:
        power = bottom if seam <= 10**bottom else min(top, math.log10(seam))
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (top - power) / (top - bottom)

    parts = []
    for power in range(bottom, top + 1):
        height = y(10.0**power)
        parts.append(_line("grid", _LEFT, height, _WIDTH - _RIGHT, height))
        parts.append(_text(_LEFT - 6, height + 4, f"1e{power}" if power else "1", "end"))
    for tried in range(0, last + 1, _stride(last)):
        parts.append(_line("grid", x(tried), _TOP, x(tried), _HEIGHT - _BOTTOM))
        parts.append(_text(x(tried), _HEIGHT - _BOTTOM + 16, str(tried), "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "halo, input pixels", "middle"))
    parts.append(_line("limit", _LEFT, y(limit), _WIDTH - _RIGHT, y(limit)))
    parts.append(_text(_LEFT + 6, y(limit) - 5, f"tolerance {limit:.1g}", "start", "limit"))
    parts.append(_line("chosen", x(halo.halo), _TOP, x(halo.halo), _HEIGHT - _BOTTOM))
    side, shift = ("end", -6) if halo.halo > last / 2 else ("start", 6)
    parts.append(_text(x(halo.halo) + shift, _TOP + 12, f"chosen: {halo.halo}", side, "chosen"))
    measured = [(tried, seam) for tried, seam in halo.seams if not math.isnan(seam)]
    points = " ".join(f"{x(tried):.1f},{y(seam):.1f}" for tried, seam in measured)
    parts.append(f'<polyline class="curve" points="{points}"/>')
    parts += [
        f'<circle class="point" cx="{x(tried):.1f}" cy="{y(seam):.1f}" r="3">'
        f"<title>halo {tried}: seam {seam:.2g} of the range</title></circle>"
        for tried, seam in measured
    ]
    label = f"Largest seam against halo: it is within {limit:.1g} from {halo.halo} pixels on"
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _stride(last: int) -> int:
    """Distance of the marks on the axis: 1, 2 or 5 times a power of ten, at most eight marks."""
    power: int = 10 ** max(0, len(str(last)) - 2)
    return next(
        step * scale
        for scale in (power, 10 * power, 100 * power)
        for step in (1, 2, 5)
        if last // (step * scale) < 8
    )


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
