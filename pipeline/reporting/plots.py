"""Two small plots as inline SVG: a histogram and a cumulative curve of coarse against refined errors.

Written out directly: the bytes are the same everywhere, the text can be selected and read aloud, and no font cache
or drawing library has to load for two plots.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 520, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 34, 42
# Told apart by dash and lightness too, so that a grey print stays readable.
STYLES = {"Coarse": ("#b45309", "6 4"), "Refined": ("#0f766e", "")}
# An axis may end at these multiples of a power of ten; each is cut into so many round intervals.
INTERVALS = {1: 5, 1.5: 3, 2: 4, 3: 3, 4: 4, 5: 5, 6: 3, 8: 4, 10: 5}


def nice_limit(value: float) -> float:
    """The smallest end of an axis that is not below `value`; 1 for nothing positive."""
    if not value > 0:
        return 1.0
    decade = 10.0 ** np.floor(np.log10(value))
    return float(next(step * decade for step in INTERVALS if step * decade >= value * (1 - 1e-9)))


def axis_values(limit: float) -> np.ndarray:
    """Round values from 0 to a `nice_limit`."""
    leading = round(limit / 10.0 ** np.floor(np.log10(limit) + 1e-9), 6)
    return np.linspace(0, limit, INTERVALS.get(leading, 5) + 1)


def histogram(series: Mapping[str, Sequence[float]], unit: str, subject: str = "scans", bins: int = 20) -> Markup:
    """Series name → values ≥ 0, one histogram each over common bins; values beyond the axis fall into the last bin."""
    limit = _common_limit(series)
    edges = np.linspace(0, limit, bins + 1)
    heights = {name: np.histogram(np.minimum(values, limit), edges)[0] for name, values in series.items()}
    top = int(max(1, *(counts.max(initial=0) for counts in heights.values())))
    step = max(1, int(np.ceil(top / 4)))
    ceiling = step * int(np.ceil(top / step))
    parts = []
    for order, (name, found) in enumerate(heights.items()):
        width = (WIDTH - LEFT - RIGHT) / bins / len(heights)
        for index, value in enumerate(found):
            if value:
                x = _x(edges[index], limit) + order * width
                y = _y(value / ceiling)
                size = f'width="{width - 1:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"'
                parts.append(f'<rect x="{x + 0.75:.1f}" y="{y:.1f}" {size} fill="{STYLES[name][0]}"/>')
    ticks = [(value / ceiling, str(value)) for value in range(0, ceiling + 1, step)]
    sizes = ", ".join(f"{name.lower()} median {np.median(values):.2f} {unit}" for name, values in series.items() if len(values))
    return _framed(
        parts, limit, ticks, unit, f"Number of {subject} by error", f"Histogram of the mean error per scan: {sizes}.", series
    )


def cumulative(series: Mapping[str, Sequence[float]], unit: str, subject: str = "scans") -> Markup:
    """Series name → values; the share of values at or below each error, a step per value."""
    limit = _common_limit(series)
    parts = []
    for name, values in series.items():
        if not len(values):
            continue
        ordered = np.sort(np.asarray(values, float))
        colour, dash = STYLES[name]
        shares = enumerate(ordered[ordered <= limit], start=1)
        steps = [f"H{_x(value, limit):.1f} V{_y(count / len(ordered)):.1f}" for count, value in shares]
        path = [f"M{_x(0, limit):.1f} {_y(0):.1f}", *steps, f"H{_x(limit, limit):.1f}"]
        parts.append(f'<path d="{" ".join(path)}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-dasharray="{dash}"/>')
    ticks = [(share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]
    label = f"Share of {subject} at or below an error"
    ninety = ", ".join(
        f"90 % of {subject} {name.lower()} below {np.percentile(v, 90):.2f} {unit}" for name, v in series.items() if len(v)
    )
    return _framed(parts, limit, ticks, unit, label, f"Cumulative curve of the mean error per scan: {ninety}.", series)


def _common_limit(series: Mapping[str, Sequence[float]]) -> float:
    """One axis for all: it holds every value, unless a few are far out."""
    pooled = np.concatenate([np.asarray(values, float) for values in series.values()] or [np.zeros(0)])
    if not len(pooled):
        return 1.0
    return nice_limit(float(min(pooled.max(), 3 * np.percentile(pooled, 90))))


def _x(value: float, limit: float) -> float:
    return LEFT + value / limit * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _framed(
    parts: list[str],
    limit: float,
    ticks: list[tuple[float, str]],
    unit: str,
    title: str,
    description: str,
    series: Collection[str],
) -> Markup:
    lines = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}. {escape(description)}">',
        f'<text x="{LEFT}" y="18" class="plot-title">{escape(title)}</text>',
    ]
    for share, label in ticks:
        lines += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(share):.1f}" y2="{_y(share):.1f}" class="grid"/>',
            f'<text x="{LEFT - 7}" y="{_y(share) + 4:.1f}" text-anchor="end">{escape(label)}</text>',
        ]
    lines += [
        f'<text x="{_x(value, limit):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{value:.3g}</text>'
        for value in axis_values(limit)
    ]
    lines.append(
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">scan to surface, mean per scan ({escape(unit)})</text>'
    )
    for order, name in enumerate(series):
        colour, dash = STYLES[name]
        x = WIDTH - RIGHT - 88 * (len(series) - order)
        lines += [
            f'<line x1="{x}" x2="{x + 22}" y1="14" y2="14" stroke="{colour}" stroke-width="3" stroke-dasharray="{dash}"/>',
            f'<text x="{x + 28}" y="18">{escape(name)}</text>',
        ]
    return Markup("\n".join(lines + parts + ["</svg>"]))
