"""The report's figures as inline SVG: the same numbers give the same bytes.

Text stays text (it can be read aloud and searched). Neutral ink is ``currentColor``, so that a figure follows
a light or a dark page. The palette is Okabe and Ito's for colour-blind readers, without the yellow that white
paper swallows; markers and line styles differ as well, so that nothing depends on colour alone.
"""

import io
import itertools
import math
import re
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lethe.interviews import UNATTACKED
from lethe.reporting.evidence import Estimate, Evidence, Model
from lethe.reporting.tables import SummaryRow, forget_knowledge

_INK = "#010203"  # stands for currentColor until the SVG is written
_ORANGE, _SKY, _GREEN, _BLUE, _VERMILION, _PURPLE = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)
CELL_STYLES = [(colour, marker) for marker in "os^v" for colour in (_VERMILION, _BLUE, _GREEN, _PURPLE, _ORANGE, _SKY)]
_CONTROL_MARKERS: dict[str, dict[str, Any]] = {
    "target": {"marker": "*", "markersize": 14},
    "retain": {"marker": "P", "markersize": 10},
}
_ROLE_STYLES: dict[str, dict[str, Any]] = {
    "target": {"color": _BLUE, "linestyle": (0, (5, 2))},
    "retain": {"color": _GREEN, "linestyle": (0, (1, 1.5))},
    "unlearned": {"color": _VERMILION, "linestyle": "-"},
}
_FAMILY_MARKERS = "osDPX^v*"
_DODGE = 0.15  # how far apart the schemes of one bit width stand, in steps of the axis
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.18,
    "legend.frameon": False,
    "legend.fontsize": 9,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), _INK
    ),
}


@matplotlib.rc_context(_STYLE)
def tradeoff(rows: list[SummaryRow]) -> Markup:
    """Forget knowledge against utility: an arrow leads from full precision to the worst quantization."""
    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    axes = figure.subplots()
    styles = itertools.cycle(CELL_STYLES)
    for row in rows:
        if row.model in _CONTROL_MARKERS:
            _control(axes, row)
        else:
            _before_and_after(axes, row, *next(styles))
    axes.set(xlim=(-0.03, 1.06), ylim=(_lowest_utility(rows), 1.03))
    axes.set_xlabel("forget knowledge (mean probability of the true answer)")
    axes.set_ylabel("utility (harmonic mean)")
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return _svg(figure, "tradeoff", _tradeoff_in_words(rows))


@matplotlib.rc_context(_STYLE)
def bit_widths(evidence: Evidence, recipe: str) -> Markup:
    """Forget knowledge against bits a weight for one recipe, between the target and the retain model."""
    models = [*evidence.controls, *(cell for cell in evidence.cells if cell.recipe == recipe)]
    figure = Figure(figsize=(4.8, 3.2), layout="constrained")
    axes = figure.subplots()
    places = _places(evidence)
    for model in models:
        _draw_families(axes, model, evidence, places)
    bits = sorted({scheme.bits for scheme in evidence.schemes.values()}, reverse=True)
    axes.set_xticks(range(len(bits) + 1), ["full", *map(str, bits)])
    axes.set(ylim=(-0.03, 1.03), title=recipe, xlabel="bits a weight", ylabel="forget knowledge")
    return _svg(figure, f"bits-{recipe}", _bit_widths_in_words(evidence, models))


@matplotlib.rc_context(_STYLE)
def bit_widths_key(evidence: Evidence) -> Markup:
    """What the colours, lines and markers of the bit-width figures mean."""
    figure = Figure(figsize=(4.8, 0.35 + 0.2 * max(3, len(_families(evidence)))), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    roles = [axes.plot([], [], **style, linewidth=2, label=role)[0] for role, style in _ROLE_STYLES.items()]
    families = [
        axes.plot([], [], color=_INK, marker=marker, linestyle="none", label=family)[0]
        for family, marker in _families(evidence).items()
    ]
    figure.legend(handles=roles, loc="upper left", bbox_to_anchor=(0.02, 1))
    figure.legend(handles=families, loc="upper left", bbox_to_anchor=(0.38, 1))
    return _svg(figure, "bits-key", f"Key: one line a model; one marker for each of {', '.join(_families(evidence))}.")


@matplotlib.rc_context(_STYLE)
def learning_curve(model: Model) -> Markup:
    """Every loss of a model's training at every step; each has its own scale."""
    names = loss_names(model)
    figure = Figure(figsize=(4.8, 1.0 + 1.2 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
    for axes, name, colour in zip(panels, names, itertools.cycle((_VERMILION, _BLUE, _GREEN, _PURPLE)), strict=False):
        points = [(row["step"], row[name]) for row in model.curve if row.get(name) is not None]
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.5)
        axes.set_ylabel(f"{name.replace('_', ' ')}")
    panels[0].set_title(model.name)
    panels[-1].set_xlabel("optimizer step")
    return _svg(figure, f"curve-{model.name}", _curve_in_words(model, names))


def loss_names(model: Model) -> list[str]:
    """The losses that the model's curve holds, in the order of their first row."""
    return list(
        dict.fromkeys(name for row in model.curve for name in row if name.endswith("loss") and row[name] is not None)
    )


def _control(axes: Axes, row: SummaryRow) -> None:
    if point := _point(row.forget_knowledge, row.utility):
        axes.plot(*point, color=_INK, linestyle="none", **_CONTROL_MARKERS[row.model])
        axes.annotate(row.model, point, xytext=(0, 9), textcoords="offset points", ha="center")
        axes.axvline(point[0], color=_INK, linewidth=0.8, linestyle=(0, (2, 3)), alpha=0.5)


def _before_and_after(axes: Axes, row: SummaryRow, colour: str, marker: str) -> None:
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 8, "linestyle": "none"}
    start = _point(row.forget_knowledge, row.utility)
    end = _point(row.forget_knowledge_after, row.utility_after)
    if start:
        axes.plot(*start, **style, label=row.model)
    if end:
        axes.plot(*end, **style, markerfacecolor="none", markeredgewidth=1.5)
    if start and end:
        arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.3, "shrinkA": 5, "shrinkB": 5}
        axes.annotate("", xy=end, xytext=start, arrowprops=arrow)


def _point(x: Estimate, y: Estimate) -> tuple[float, float] | None:
    return None if x.value is None or y.value is None else (x.value, y.value)


def _lowest_utility(rows: list[SummaryRow]) -> float:
    useful = [known.value for row in rows for known in (row.utility, row.utility_after) if known.value is not None]
    return max(math.floor(10 * min(useful, default=0.0) - 0.5) / 10, -0.03)


def _places(evidence: Evidence) -> dict[str, float]:
    """Where each scheme stands on the axis: the schemes of one bit width side by side around it."""
    places: dict[str, float] = {}
    bits = sorted({scheme.bits for scheme in evidence.schemes.values()}, reverse=True)
    for column, width in enumerate(bits, start=1):
        names = [scheme.name for scheme in evidence.schemes.values() if scheme.bits == width]
        places |= {name: column + _DODGE * (index - (len(names) - 1) / 2) for index, name in enumerate(names)}
    return places


def _draw_families(axes: Axes, model: Model, evidence: Evidence, places: dict[str, float]) -> None:
    style = _ROLE_STYLES[model.name if model.recipe is None else "unlearned"]
    whole = (0.0, forget_knowledge(model, UNATTACKED))
    _draw_points(axes, [whole], style, "o")
    for family, marker in _families(evidence).items():
        schemes = [scheme.name for scheme in evidence.schemes.values() if scheme.family == family]
        points = [(places[name], forget_knowledge(model, name)) for name in schemes]
        _draw_points(axes, points, style, marker)
        if len(schemes) > 1:
            _draw_line(axes, [whole, *points], style)


def _draw_points(axes: Axes, points: list[tuple[float, Estimate]], style: dict[str, Any], marker: str) -> None:
    for x, known in points:
        if known.value is not None:
            axes.plot([x], [known.value], color=style["color"], marker=marker, markersize=5, linestyle="none")
        if known.low is not None and known.high is not None:
            axes.plot([x, x], [known.low, known.high], color=style["color"], linewidth=1, alpha=0.6)


def _draw_line(axes: Axes, points: list[tuple[float, Estimate]], style: dict[str, Any]) -> None:
    measured = sorted((x, known.value) for x, known in points if known.value is not None)
    axes.plot([x for x, _ in measured], [value for _, value in measured], **style, linewidth=1, alpha=0.8)


def _families(evidence: Evidence) -> dict[str, str]:
    families = dict.fromkeys(scheme.family for scheme in evidence.schemes.values())
    return dict(zip(families, itertools.cycle(_FAMILY_MARKERS), strict=False))


def _tradeoff_in_words(rows: list[SummaryRow]) -> str:
    points = (
        f"{row.model}: forget knowledge {_said(row.forget_knowledge)}, utility {_said(row.utility)}; "
        f"after the worst quantization {_said(row.forget_knowledge_after)} and {_said(row.utility_after)}."
        for row in rows
    )
    return " ".join(("Forget knowledge against utility.", *points))


def _bit_widths_in_words(evidence: Evidence, models: list[Model]) -> str:
    conditions = [UNATTACKED, *evidence.schemes]
    lines = (
        f"{model.name}: "
        + "; ".join(f"{evidence.condition_label(name)} {_said(forget_knowledge(model, name))}" for name in conditions)
        + "."
        for model in models
    )
    return " ".join(("Forget knowledge against bits a weight.", *lines))


def _curve_in_words(model: Model, names: list[str]) -> str:
    parts = []
    for name in names:
        values = [row[name] for row in model.curve if row.get(name) is not None]
        parts.append(f"{name.replace('_', ' ')} from {values[0]:.3g} to {values[-1]:.3g}")
    return f"Learning curve of {model.name}: {'; '.join(parts)}."


def _said(known: Estimate) -> str:
    return "not measured" if known.value is None else f"{known.value:.2f}"


def _svg(figure: Figure, name: str, words: str) -> Markup:
    page = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            page,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    return _inline(page.getvalue(), name, words)


def _inline(svg: str, name: str, words: str) -> Markup:
    """An SVG file as an element of a page: no prologue, no addresses, ids that no other figure has."""
    body = svg[svg.index("<svg") :]
    view = re.search(r'viewBox="([^"]+)"', body)
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>\*\{.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(xlink:)?href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-").replace(_INK, "currentColor")
    opening = f'<svg role="img" aria-label="{escape(words)}" viewBox="{view.group(1) if view else ""}">'
    return Markup(re.sub(r"^<svg[^>]*>", lambda _: opening, body, count=1).strip())
