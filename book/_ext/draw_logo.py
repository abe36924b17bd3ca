"""Draw the logo, the favicon and the social card: ``python book/_ext/draw_logo.py``.

The arch is the entropy of a coin, H(p), and the falling curve is surprise, -log p. They meet where
the arch is highest, at p = 1/2, since both are log 2 there, and again at p = 1, where both are 0.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

STATIC = Path(__file__).parent.parent / "_static"
BLUE, ORANGE, NIGHT, CHALK = "#3b82d6", "#e0701a", "#14181e", "#f3f4f5"
TOP = 1.42  # nats at the upper edge of the picture

Curve = tuple[np.ndarray, np.ndarray]


def arch() -> Curve:
    """Return the entropy of a coin over the probability of heads."""
    p = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2  # denser where the arch is steep
    p[[0, -1]] = 0, 1
    q = 1 - p
    return p, -(p * np.log(np.where(p > 0, p, 1)) + q * np.log(np.where(q > 0, q, 1)))


def surprise() -> Curve:
    """Return -log p from the upper edge down to certainty."""
    height = np.linspace(TOP, 0, 25)
    return np.exp(-height), height


def path(curve: Curve, *, left: float, bottom: float, size: float) -> str:
    """Return a curve as the points of an SVG path in a square of the given size."""
    x, y = left + size * curve[0], bottom - size * curve[1] / TOP
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)]
    return "M" + "L".join(points)


def drawing(*, margin: float, line: float, dot: float) -> str:
    """Return the logo as SVG, in colours that read on white and on near-black."""
    box = {"left": margin, "bottom": 64 - margin, "size": 64 - 2 * margin}
    x, y = 32, box["bottom"] - box["size"] * np.log(2) / TOP
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        f'<g fill="none" stroke-width="{line}" stroke-linecap="round" stroke-linejoin="round">'
        f'<path stroke="{BLUE}" d="{path(arch(), **box)}"/>'
        f'<path stroke="{ORANGE}" d="{path(surprise(), **box)}"/></g>'
        f'<circle cx="{x}" cy="{y:.1f}" r="{dot}" fill="{ORANGE}"/></svg>\n'
    )


def card() -> bytes:
    """Return the picture that other sites show beside a link, 1200 by 630 pixels."""
    with plt.rc_context({"font.family": "STIXGeneral", "mathtext.fontset": "stix"}):
        figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor=NIGHT)
        axes = figure.add_axes((0.56, 0.14, 0.37, 0.72))
        axes.set_axis_off()
        axes.set_clip_on(False)
        for curve, colour in ((arch(), BLUE), (surprise(), ORANGE)):
            axes.plot(*curve, color=colour, linewidth=9, solid_capstyle="round", clip_on=False)
        axes.plot(0.5, np.log(2), "o", color=ORANGE, markersize=30, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, TOP))
        figure.text(0.07, 0.60, "From Entropy", color=CHALK, fontsize=56)
        figure.text(0.07, 0.44, "to Softmax Loss", color=CHALK, fontsize=56)
        figure.text(0.07, 0.27, "derived, checked by code, never NaN", color="#aeb6c1", fontsize=25)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", facecolor=NIGHT)
        plt.close(figure)
    # 64 colours are enough for flat areas and smooth edges, at a third of the size.
    small = BytesIO()
    Image.open(buffer).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    (STATIC / "logo.svg").write_text(drawing(margin=4, line=4, dot=5.4), encoding="utf-8")
    (STATIC / "favicon.svg").write_text(drawing(margin=5, line=7, dot=8.5), encoding="utf-8")
    (STATIC / "card.png").write_bytes(card())
