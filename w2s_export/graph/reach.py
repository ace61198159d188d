"""Which input pixels the elements of a tensor depend on, along one axis of the image.

Element i of an axis sees the input pixels from `low` to `high`, and a network repeats itself: after
`elements` elements the same comes again, `pixels` input pixels further. So a few pairs say exactly
what millions of elements see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

NEVER = 1 << 40
_LONGEST = 4096
"""Periods beyond this are not followed: such a tensor counts as one that sees the whole image."""

Span = tuple[int, int]
"""First and last input pixel; (NEVER, −NEVER) for an element that depends on no pixel."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one period of elements sees, or None where every element may see the whole image."""

    elements: int
    pixels: int
    seen: tuple[Span, ...] | None
    step: int = 1
    """Input pixels that are a whole number of elements here and in all that this is made of."""

    @property
    def rate(self) -> Fraction:
        """Elements per input pixel."""
        return Fraction(self.elements, self.pixels)

    def unbounded(self) -> Reach:
        """The same elements, seeing the whole image."""
        return Reach(self.rate.numerator, self.rate.denominator, None, self.step)

    def at(self, element: int) -> Span:
        """What an element sees."""
        if self.seen is None:
            return -NEVER, NEVER
        periods, within = divmod(element, self.elements)
        low, high = self.seen[within]
        return low + periods * self.pixels, high + periods * self.pixels

    def read(self, ratio: Fraction, sources: Callable[[int], Sequence[int]]) -> Reach:
        """What the elements of a tensor computed from this one see.

        Args:
            ratio: elements of this axis per element of the new one.
            sources: elements of this axis that an element of the new one reads; those of element
                i + k are those of i, `ratio`·k further, wherever that is a whole number.
        """
        elements = (self.elements / ratio).numerator
        pixels = int(elements * ratio / self.elements * self.pixels)
        new = Reach(elements, pixels, None)
        new = Reach(elements, pixels, None, lcm(self.step, new.rate.denominator))
        if self.seen is None or elements > _LONGEST:
            return new.unbounded()
        if self.elements == 1:  # the usual case, in fewer steps
            ((low, high),) = self.seen
            seen = tuple(
                (min(read) * self.pixels + low, max(read) * self.pixels + high)
                if (read := sources(element))
                else (NEVER, -NEVER)
                for element in range(elements)
            )
        else:
            seen = tuple(
                _hull([self.at(source) for source in sources(element)])
                for element in range(elements)
            )
        return Reach(elements, pixels, seen, new.step)


def whole(step: int = 1) -> Reach:
    """Of a value that has no axis of pixels left, and depends on all of them."""
    return Reach(1, 1, None, step)


def joined(first: Reach | None, second: Reach | None) -> Reach | None:
    """What an element sees that is computed from an element of each; None sees no pixel."""
    if first is None or second is None or first is second:
        return first or second
    elements = lcm(first.elements, second.elements)
    pixels, step = elements * first.pixels // first.elements, lcm(first.step, second.step)
    if first.rate != second.rate or first.seen is None or second.seen is None:
        return Reach(elements, pixels, None, step).unbounded()
    pairs = ((first.at(i), second.at(i)) for i in range(elements))
    return Reach(elements, pixels, tuple(map(_hull, pairs)), step)


def finer(reach: Reach, factor: int) -> Reach:
    """Every element `factor` times: pixels written from channels, or nearest neighbours."""
    return reach.read(Fraction(1, factor), lambda i: (i // factor,))


def coarser(reach: Reach, factor: int) -> Reach:
    """One element for `factor` of them: pixels moved to channels, or windows."""
    return reach.read(Fraction(factor), lambda i: range(i * factor, (i + 1) * factor))


def shifted(reach: Reach, first: int, stride: int = 1) -> Reach:
    """A slice that starts at element `first`."""
    if first == 0 and stride == 1:
        return reach
    return reach.read(Fraction(stride), lambda i: (i * stride + first,))


def radius(reach: Reach, step: int) -> int | None:
    """How far beyond its own cell of `step` input pixels an element can see; None: everything.

    Tiles begin at whole cells, so this is the context that makes a tile's inside exact.
    """
    if reach.seen is None:
        return None
    cell = int(reach.rate * step)
    farthest = 0
    for element in range(lcm(reach.elements, cell)):
        low, high = reach.at(element)
        start = element // cell * step
        farthest = max(farthest, start - low, high - (start + step - 1))
    return farthest


def _hull(spans: Sequence[Span]) -> Span:
    if not spans:
        return NEVER, -NEVER
    return min(span[0] for span in spans), max(span[1] for span in spans)
