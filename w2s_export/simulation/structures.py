"""Where the fluorophores sit in three kinds of cell structure, drawn at random.

Each function takes (rng, size of the field (y, x) in µm, number of objects) and returns positions
(N, 2) in µm and brightnesses (N,); objects may reach beyond the field.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Fluorophores = tuple[Array, Array]
Draw = Callable[[np.random.Generator, tuple[float, float], int], Fluorophores]

_STEP_UM = 0.1


def microtubules(
    rng: np.random.Generator, field_um: tuple[float, float], count: int
) -> Fluorophores:
    """Long thin filaments, partly aligned, some in loose bundles.

    Curvature, not direction, wanders at random: microtubules in cells bend smoothly over
    micrometres (Brangwynne et al. 2007, doi 10.1083/jcb.200607060). Two layers of antibody put the
    dyes within some 70 nm of the axis; two in seven stick elsewhere nearby.
    """
    aligned = rng.uniform(0, np.pi)
    objects: list[Fluorophores] = []
    while len(objects) < 2 * count:
        heading = aligned + rng.normal(0, 0.3 if rng.random() < 0.6 else np.pi)
        length = rng.uniform(20, 50)
        path = _walk(rng, field_um, heading, length, bend_per_um=0.15, correlation_um=2)
        for _ in range(rng.geometric(0.75)):
            strand = _diverge(rng, path)
            objects.append(_label(rng, strand, per_um=500, radius_um=0.07))
            objects.append(_label(rng, strand, per_um=200, radius_um=0.8))
    return _join(objects[: 2 * count])


def _diverge(rng: np.random.Generator, path: Array) -> Array:
    """A neighbour in a bundle: two thirds or more of the path, moved by 0.1 µm and turned by 2°."""
    cut = int(rng.integers(len(path) // 3))
    piece = path[cut:] if rng.random() < 0.5 else path[: len(path) - cut]
    turn = rng.normal(0, 0.035)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = piece[rng.integers(len(piece))]
    strand: Array = (piece - centre) @ rotation + centre + rng.normal(0, 0.1, 2)
    return strand


def vesicles(rng: np.random.Generator, field_um: tuple[float, float], count: int) -> Fluorophores:
    """Membrane-labelled spheres of 0.15 to 0.6 µm, seen in projection as rings."""
    objects = []
    for _ in range(count):
        radius = rng.uniform(0.075, 0.3)
        number = max(20, int(2500 * radius**2 * np.pi))
        shell = radius * _sphere(rng, number)[:, :2]
        objects.append((_somewhere(rng, field_um) + shell, _brightness(rng, number)))
    return _join(objects)


def mitochondria(
    rng: np.random.Generator, field_um: tuple[float, float], count: int
) -> Fluorophores:
    """Matrix-labelled tubes, 0.3 to 0.6 µm thick and 1 to 6 µm long, that bend in every way."""
    objects = []
    for _ in range(count):
        path = _walk(
            rng,
            field_um,
            heading=rng.uniform(0, 2 * np.pi),
            length=rng.uniform(1, 6),
            bend_per_um=1.0,
            correlation_um=1.0,
        )
        objects.append(_label(rng, path, per_um=2000, radius_um=rng.uniform(0.15, 0.3)))
    return _join(objects)


def _walk(
    rng: np.random.Generator,
    field_um: tuple[float, float],
    heading: float,
    length: float,
    bend_per_um: float,
    correlation_um: float,
) -> Array:
    """A curve through a point of the field, (K, 2) µm, steps of `_STEP_UM`.

    Its curvature is an Ornstein–Uhlenbeck process of standard deviation `bend_per_um` radians per
    micrometre that forgets itself over `correlation_um`.
    """
    steps = max(2, round(length / _STEP_UM))
    memory = np.exp(-_STEP_UM / correlation_um)
    kicks = rng.normal(0, bend_per_um, steps) * np.sqrt(1 - memory**2)
    kicks[0] = rng.normal(0, bend_per_um)
    curvature = np.empty(steps)
    state = 0.0
    for index, kick in enumerate(kicks):
        state = memory * state + kick
        curvature[index] = state
    angle = heading + np.cumsum(curvature) * _STEP_UM
    path = np.cumsum(np.stack([np.sin(angle), np.cos(angle)], 1), axis=0) * _STEP_UM
    placed: Array = path - path[rng.integers(steps)] + _somewhere(rng, field_um)
    return placed


def _label(rng: np.random.Generator, path: Array, per_um: float, radius_um: float) -> Fluorophores:
    """Fluorophores anywhere within a radius of a path: a tube with round ends, from above."""
    steps = len(path) - 1
    number = rng.poisson(per_um * steps * _STEP_UM)
    along = rng.uniform(0, steps, number)
    centre = np.stack([np.interp(along, np.arange(steps + 1), path[:, i]) for i in (0, 1)], 1)
    return centre + radius_um * _ball(rng, number)[:, :2], _brightness(rng, number)


def _ball(rng: np.random.Generator, number: int) -> Array:
    """Points spread evenly in the unit ball, (number, 3)."""
    return _sphere(rng, number) * np.cbrt(rng.random((number, 1)))


def _sphere(rng: np.random.Generator, number: int) -> Array:
    """Points spread evenly on the unit sphere, (number, 3)."""
    direction = rng.normal(size=(number, 3))
    unit: Array = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return unit


def _brightness(rng: np.random.Generator, number: int) -> Array:
    """Objects differ in labelling (log-normal, 30 %), fluorophores in photons (exponential)."""
    return rng.lognormal(0, 0.3) * rng.exponential(1, number)


def _somewhere(rng: np.random.Generator, field_um: tuple[float, float]) -> Array:
    return rng.random(2) * field_um


def _join(objects: list[Fluorophores]) -> Fluorophores:
    if not objects:
        return np.zeros((0, 2)), np.zeros(0)
    return np.concatenate([p for p, _ in objects]), np.concatenate([b for _, b in objects])
