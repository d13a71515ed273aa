"""The look of the book's figures: one message each, readable on light and dark pages
and without colour vision.
"""

from __future__ import annotations

from typing import Any

# Okabe and Ito's palette, which stays distinct for every common kind of colour
# blindness; black first. Source: M. Okabe and K. Ito, "Color Universal Design", 2008.
BLACK, ORANGE, SKY, GREEN = "#1b1b1b", "#e69f00", "#56b4e9", "#009e73"
BLUE, RED, PURPLE = "#0072b2", "#d55e00", "#cc79a7"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_STYLE: dict[str, Any] = {
    "figure.figsize": (6.4, 3.6),
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
    # A light card on every page: ink on white has the same contrast in both themes.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#666666",
    "axes.labelcolor": BLACK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "svg.hashsalt": "happyllm",
}


def use_style() -> None:
    """Give every figure that follows the look of the book (matplotlib's `rcParams`)."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(_STYLE)  # pyright: ignore[reportArgumentType, reportCallIssue]  (keys are a closed list there)
    mpl.rcParams["axes.prop_cycle"] = cycler(color=PALETTE) + cycler(marker=MARKERS)


def label_line(
    axes: Any,
    x: float,
    y: float,
    text: str,
    *,
    color: str = BLACK,
    dx: float = 4,
    dy: float = 0,
) -> None:
    """Write `text` beside a point, instead of a legend that the eye must look up.

    Args:
        axes: the matplotlib axes.
        x: position in data coordinates.
        y: position in data coordinates.
        text: what to write.
        color: usually that of the line.
        dx: shift to the right in points.
        dy: shift upwards in points.
    """
    axes.annotate(
        text,
        (x, y),
        xytext=(dx, dy),
        textcoords="offset points",
        color=color,
        va="center",
        fontsize=9,
    )
