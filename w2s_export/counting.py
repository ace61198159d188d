"""A number with its noun, in the singular or the plural."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 input`, `2 inputs`.

    Args:
        number: how many.
        noun: the name of one.
        plural: of several, where it is more than an added `s`: `axes`.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
