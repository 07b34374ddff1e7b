"""The report's figures: each drawn twice, for light and for dark surroundings, and saved once as PNG."""

import base64
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple
from unicodedata import east_asian_width

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import fontManager
from numpy.typing import NDArray

from bdpo.evaluation.summary import WORDS, Figure

_INCHES_WIDE = 8.0
_DPI = 144
_NAME_WIDE = 34
"""Characters of a benchmark's name in one line; of Chinese or Japanese, which is twice as wide, half of them."""
_NAME_HIGH = 3
"""Lines that a name has at most beside its figure; the table has all of it."""
_WIDE_FONTS = ("Noto Sans CJK JP", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Arial Unicode MS")
"""Where one is installed, it has the letters that DejaVu, which comes with matplotlib, does not."""


class _Theme(NamedTuple):
    ink: str
    faint: str
    base: str
    aligned: str


_LIGHT = _Theme("#1f2328", "#d0d7de", "#6e7781", "#0b6bcb")
_DARK = _Theme("#e6edf3", "#3d444d", "#9aa4af", "#58a6ff")
_STYLE: Any = {
    "font.size": 11,
    "font.family": ["DejaVu Sans", *sorted({font.name for font in fontManager.ttflist}.intersection(_WIDE_FONTS))],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "bdpo",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a dollar in a benchmark's name is a dollar
}


class Picture(NamedTuple):
    """One figure, ready to embed."""

    name: str
    light: str
    """Data URI, SVG."""
    dark: str
    alt: str
    """What it shows, for those who do not see it."""
    caption: str


Draw = Callable[[Canvas, _Theme], None]


def rates(figures: Sequence[Figure], folder: Path) -> Picture:
    """Rates of both models with their intervals, a line a benchmark and metric."""

    def draw(canvas: Canvas, theme: _Theme) -> None:
        axes = canvas.add_subplot()
        for place, figure in enumerate(reversed(figures)):
            for rate, shift, colour, marker in (
                (figure.base, 0.14, theme.base, "o"),
                (figure.aligned, -0.14, theme.aligned, "D"),
            ):
                if rate.value is not None and rate.low is not None and rate.high is not None:
                    axes.plot([100 * rate.low, 100 * rate.high], [place + shift] * 2, color=colour, linewidth=2)
                    axes.plot([100 * rate.value], [place + shift], marker, color=colour, markersize=7)
        names = [f"{_in_lines(f.benchmark)}\n{WORDS[f.metric]}" for f in reversed(figures)]
        axes.set_yticks(range(len(figures)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(-2, 102)
        axes.set_ylim(-0.6, len(figures) - 0.4)
        axes.set_xlabel("per cent of prompts")
        axes.grid(axis="x", color=theme.faint, linewidth=0.8)
        for label, colour, marker in (("base", theme.base, "o"), ("aligned", theme.aligned, "D")):
            axes.plot([], [], marker, color=colour, label=label)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, labelcolor=theme.ink)
        _paint([axes], theme)

    alt = "; ".join(
        f"{f.benchmark}, {WORDS[f.metric]}: base {_percent(f.base.value)}, aligned {_percent(f.aligned.value)}"
        for f in figures
    )
    caption = "Dots are shares, lines their Wilson intervals. Refusal is wanted on harmful prompts only."
    return _picture("rates", draw, 1.1 + 0.75 * len(figures), alt, caption, folder)


def training(curves: Mapping[str, Mapping[str, tuple[list[int], list[float]]]], folder: Path) -> Picture:
    """Loss, margin and accuracy over the steps.

    Args:
        curves: metric to split to (steps, values).
        folder: gets the PNG.
    """

    def draw(canvas: Canvas, theme: _Theme) -> None:
        panels = _row_of(canvas, len(curves))
        for axes, (metric, splits) in zip(panels, curves.items(), strict=True):
            for split, (steps, values) in splits.items():
                held_out = split == "validation"
                colour = theme.aligned if held_out else theme.base
                dotted = held_out or len(steps) == 1  # of one point there is no line
                axes.plot(steps, values, "o-" if dotted else "-", color=colour, markersize=4, label=split)
            axes.set_title(metric, color=theme.ink, fontsize=11)
            axes.set_xlabel("step")
            axes.grid(color=theme.faint, linewidth=0.8)
        panels[0].legend(frameon=False, labelcolor=theme.ink)
        _paint(panels, theme)

    ends = "; ".join(
        f"{metric} on {split}: {values[0]:.3g} at step {steps[0]}, {values[-1]:.3g} at step {steps[-1]}"
        for metric, splits in curves.items()
        for split, (steps, values) in splits.items()
    )
    return _picture("training", draw, 3.0, ends, "Training curves, on the training and the validation split.", folder)


def information(
    mi_chosen: NDArray[np.float64],
    mi_rejected: NDArray[np.float64],
    weights: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    folder: Path,
) -> Picture:
    """Mutual information of both sides of the training pairs, and their weights.

    Args:
        mi_chosen: (n,) nats a token.
        mi_rejected: (n,) likewise.
        weights: scaled weights of the chosen and the rejected side, where the method has any.
        folder: gets the PNG.
    """

    def draw(canvas: Canvas, theme: _Theme) -> None:
        panels = _row_of(canvas, 2 if weights is not None else 1)
        axes = panels[0]
        # As pixels: a point of its own takes 150 bytes, and Firefox refuses figures of more than 32 MB.
        axes.scatter(mi_chosen, mi_rejected, s=9, color=theme.aligned, alpha=0.45, linewidths=0, rasterized=True)
        ends = [float(min(mi_chosen.min(), mi_rejected.min())), float(max(mi_chosen.max(), mi_rejected.max()))]
        axes.plot(ends, ends, color=theme.base, linewidth=1)
        axes.set_xlabel("chosen, nats a token")
        axes.set_ylabel("rejected, nats a token")
        axes.set_title("mutual information", color=theme.ink, fontsize=11)
        axes.grid(color=theme.faint, linewidth=0.8)
        if weights is not None:
            edges = np.linspace(0, float(max(weights[0].max(), weights[1].max(), 1e-9)), 31).tolist()
            panels[1].hist(weights[0], edges, color=theme.aligned, alpha=0.6, label="chosen")
            panels[1].hist(weights[1], edges, histtype="step", color=theme.ink, linewidth=1.4, label="rejected")
            panels[1].set_xlabel("weight in the loss")
            panels[1].set_ylabel("pairs")
            panels[1].set_title("weights", color=theme.ink, fontsize=11)
            panels[1].legend(frameon=False, labelcolor=theme.ink)
        _paint(panels, theme)

    n = len(mi_chosen)
    alt = (
        f"Mutual information of {n} pairs: chosen {mi_chosen.mean():.2f}, rejected {mi_rejected.mean():.2f} on average"
    )
    caption = (
        "How well the reference model comprehends the two responses of each pair accepted for training; on the line "
        "both alike. " + ("A weight of 1 is DPO's." if weights is not None else "The method has no balance weights.")
    )
    return _picture("information", draw, 3.6, alt, caption, folder)


def _picture(name: str, draw: Draw, inches_high: float, alt: str, caption: str, folder: Path) -> Picture:
    uris = []
    for theme in (_LIGHT, _DARK):
        with mpl.rc_context(_STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the table has the name
            canvas = Canvas(figsize=(_INCHES_WIDE, inches_high), layout="constrained")
            draw(canvas, theme)
            if theme is _LIGHT:
                canvas.savefig(folder / f"{name}.png", dpi=_DPI, facecolor="white", metadata={"Software": None})
            svg = io.BytesIO()
            canvas.savefig(svg, format="svg", dpi=_DPI, transparent=True, metadata={"Date": None, "Creator": None})
            uris.append("data:image/svg+xml;base64," + base64.b64encode(svg.getvalue()).decode("ascii"))
    return Picture(name, uris[0], uris[1], alt, caption)


def _in_lines(name: str) -> str:
    """A benchmark's name beside its figure, which has room for so much of it."""
    wide = any(east_asian_width(letter) in "WF" for letter in name)
    return fill(name, _NAME_WIDE // 2 if wide else _NAME_WIDE, max_lines=_NAME_HIGH, placeholder=" …")


def _row_of(canvas: Canvas, panels: int) -> list[Axes]:
    return [canvas.add_subplot(1, panels, i + 1) for i in range(panels)]


def _paint(panels: Sequence[Axes], theme: _Theme) -> None:
    for axes in panels:
        axes.tick_params(colors=theme.ink)
        axes.xaxis.label.set_color(theme.ink)
        axes.yaxis.label.set_color(theme.ink)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_color(theme.faint)


def _percent(value: float | None) -> str:
    return "no verdict" if value is None else f"{100 * value:.1f}%"
