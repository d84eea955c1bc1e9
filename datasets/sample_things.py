"""The sample's eight things: outlines, and details on them. Coordinates are from -1 to 1; y points down."""

from __future__ import annotations

import math

from datasets.sample_outlines import Drawing, Outline, Part, arc, both_sides, curve, oval, rectangle


def _leaf() -> Drawing:
    edge = curve((0.0, -1.0), (0.18, -0.84), (0.66, -0.6), (0.88, 0.0), (0.66, 0.52), (0.2, 0.68), (0.05, 0.72))
    rib = [(0.0, -0.9), (0.05, 1.0), (-0.05, 1.0)]
    veins = ([(0.0, y), (side * 0.5, y - 0.34), (0.0, y + 0.07)] for y in (-0.34, 0.02, 0.38) for side in (-1, 1))
    return Drawing(
        both_sides([*edge, (0.06, 1.0)]),
        (
            Part([*edge, (0.0, 0.72)], shade=112),
            *(Part(vein, shade=74) for vein in veins),
            Part(rib, shade=70),
        ),
    )


def _cup() -> Drawing:
    # The middle of the vessel, left of that of the whole.
    x = -0.15
    rim = arc(x, -0.66, 0.67, 0.14, 180, 360, 12)
    # The handle ends 0.02 beside the vessel: so its hole is open, and one outline suffices.
    handle = [
        *curve((0.5, -0.46), (0.98, -0.5), (1.0, -0.08), (0.94, 0.36), (0.53, 0.4)),
        *curve((0.53, 0.2), (0.78, 0.18), (0.8, -0.06), (0.8, -0.3), (0.5, -0.28)),
    ]
    right = curve((0.5, 0.3), (0.48, 0.62), (0.34, 0.76), (x, 0.76))
    left = [(2 * x - across, y) for across, y in reversed(right)]
    band = [*curve((-0.8, -0.12), (x, -0.02), (0.5, -0.12)), *curve((0.5, 0.18), (x, 0.28), (-0.8, 0.18))]
    gleam = [(-0.68, -0.5), (-0.56, -0.5), (-0.54, 0.5), (-0.62, 0.5)]
    return Drawing(
        [*rim, *handle, *right, *left],
        (Part(oval(x, -0.66, 0.59, 0.09, 16), shade=60), Part(band, "accent"), Part(gleam, "light")),
    )


def _fish() -> Drawing:
    fin = curve((0.45, -0.42), (0.1, -0.86), (-0.3, -0.7), (-0.26, -0.36))
    tail = [(-0.62, -0.2), (-1.0, -0.56), (-0.86, 0.0), (-1.0, 0.58), (-0.62, 0.22)]
    belly = curve((-0.5, 0.12), (-0.2, 0.44), (0.4, 0.6), (0.86, 0.36), (0.98, 0.04))
    head = curve((0.98, 0.04), (0.88, -0.26), (0.7, -0.4), (0.45, -0.42))
    gill = [*curve((0.42, -0.4), (0.24, 0.0), (0.42, 0.42)), *curve((0.36, 0.42), (0.14, 0.0), (0.36, -0.4))]
    return Drawing(
        [*head[:-1], *fin, (-0.5, -0.12), *tail, *belly[:-1]],
        (
            Part(fin, "accent"),
            Part(tail, "accent"),
            Part([*belly, *curve((0.9, 0.14), (0.3, 0.24), (-0.5, 0.12))], shade=122),
            Part(gill, shade=72),
            Part(oval(0.66, -0.14, 0.13, 0.13), "light"),
            Part(oval(0.68, -0.14, 0.07, 0.07, 8), "dark"),
        ),
    )


def _house() -> Drawing:
    chimney = [(0.38, -0.61), (0.38, -0.86), (0.6, -0.86), (0.6, -0.42)]
    walls = [(0.72, -0.16), (0.72, 0.8), (-0.72, 0.8), (-0.72, -0.16)]
    top, right, left = (0.0, -0.94), (0.9, -0.16), (-0.9, -0.16)
    return Drawing(
        [top, *chimney, right, *walls, left],
        (
            Part(chimney, "accent", 76),
            Part(rectangle(-0.72, -0.16, 0.72, -0.04), shade=78),
            Part([top, right, left], "accent"),
            *(Part(rectangle(x - 0.17, 0.06, x + 0.17, 0.4), "light") for x in (-0.4, 0.4)),
            *(Part(rectangle(x - 0.03, 0.06, x + 0.03, 0.4), shade=80) for x in (-0.4, 0.4)),
            Part(rectangle(-0.13, 0.3, 0.13, 0.8), "accent", 82),
        ),
    )


def _star() -> Drawing:
    """Five-pointed, folded along the lines from its middle."""
    angles = [math.pi * corner / 5 - math.pi / 2 for corner in range(10)]
    radii = [1.0, 0.46] * 5
    corners = [
        (radius * math.cos(angle), radius * math.sin(angle)) for radius, angle in zip(radii, angles, strict=True)
    ]
    return Drawing(
        corners, tuple(Part([(0.0, 0.0), *corners[index : index + 2]], shade=78) for index in range(0, 10, 2))
    )


def _car() -> Drawing:
    boot = curve((-0.96, 0.32), (-1.0, 0.0), (-0.94, -0.1), (-0.72, -0.14))
    cabin = curve((-0.72, -0.14), (-0.52, -0.56), (-0.4, -0.62), (0.14, -0.62), (0.28, -0.56), (0.52, -0.12))
    bonnet = curve((0.52, -0.12), (0.9, -0.06), (1.0, 0.06), (0.97, 0.32))
    wheels = (0.54, -0.52)
    below: Outline = [point for x in wheels for point in arc(x, 0.34, 0.24, 0.24, 0, 180, 8)]
    return Drawing(
        [*boot, *cabin[1:], *bonnet[1:], *below],
        (
            Part([(-0.54, -0.14), (-0.4, -0.48), (-0.14, -0.5), (-0.14, -0.14)], "light"),
            Part([(-0.06, -0.14), (-0.06, -0.5), (0.12, -0.5), (0.32, -0.14)], "light"),
            Part([(-0.97, 0.1), (0.98, 0.1), (0.97, 0.2), (-0.96, 0.2)], "accent"),
            *(Part(oval(x, 0.34, 0.24, 0.24), "dark") for x in wheels),
            *(Part(oval(x, 0.34, 0.1, 0.1, 8), "light") for x in wheels),
        ),
    )


def _umbrella() -> Drawing:
    scallops = [arc(x, 0.02, 0.24, 0.13, 0, -180, 4) for x in (0.72, 0.24, -0.24, -0.72)]
    right, left = ([point for part in half for point in part[1:-1]] for half in (scallops[:2], scallops[2:]))
    stick = [
        (0.05, -0.02), (0.05, 0.62), *arc(-0.13, 0.68, 0.18, 0.28, 0, 180, 6),
        *arc(-0.13, 0.68, 0.07, 0.15, 180, 0, 4), (-0.05, 0.62), (-0.05, -0.02),
    ]  # fmt: skip
    return Drawing(
        [*arc(0.0, 0.02, 0.96, 0.84, 180, 360, 16), *right, *stick, *left],
        (Part(stick, "dark"), *(Part([(0.0, -0.8), *scallop], "accent") for scallop in scallops[::2])),
    )


def _tree() -> Drawing:
    crown = [
        *curve((0.0, -0.98), (0.3, -1.0), (0.5, -0.72), (0.46, -0.62), (0.8, -0.56), (0.88, -0.12), (0.66, 0.02)),
        *curve((0.66, 0.02), (0.78, 0.2), (0.56, 0.4), (0.16, 0.36))[1:],
    ]
    trunk = [(0.13, 0.3), (0.15, 0.8), (0.3, 0.96)]
    dapples = ((-0.24, -0.56), (-0.46, -0.06), (0.1, -0.14))
    return Drawing(
        both_sides([*crown, *trunk]),
        (
            Part(both_sides(trunk), "accent", 74),
            Part(both_sides(crown)),
            *(Part(oval(x, y, 0.2, 0.16), shade=118) for x, y in dapples),
        ),
    )


LEAF, CUP, FISH, HOUSE = _leaf(), _cup(), _fish(), _house()
STAR, CAR, UMBRELLA, TREE = _star(), _car(), _umbrella(), _tree()
