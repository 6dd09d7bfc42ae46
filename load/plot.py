"""Bars as SVG: all that the page of benchmarks draws."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LABELS, ROW, HEAD = 860, 330, 26, 44
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5")


def bars(
    title: str,
    rows: Sequence[tuple[str, Mapping[str, float]]],
    unit: str = "",
    mark: float | None = None,
) -> str:
    """A bar of segments for each row, and a line across them at `mark`."""
    names = list(dict.fromkeys(name for _, segments in rows for name in segments))
    longest = max([*(sum(segments.values()) for _, segments in rows), mark or 0])
    scale = (WIDTH - LABELS - 70) / longest
    legend = names if len(names) > 1 else []
    top = HEAD + (ROW if legend else 0)
    height = top + ROW * len(rows) + 12
    parts = [_text(10, 26, title, size=16)]
    parts += [part for each in enumerate(legend) for part in _legend(*each)]
    for place, (label, segments) in enumerate(rows):
        y, x = top + ROW * place, float(LABELS)
        parts.append(_text(LABELS - 8, y + 15, label, anchor="end"))
        for name, value in segments.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(_box(x, y, value * scale, colour, f"{name}: {value:.2f}{unit}"))
            x += value * scale
        parts.append(_text(x + 6, y + 15, f"{sum(segments.values()):.2f}{unit}"))
    if mark is not None:
        x = LABELS + mark * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{height - 8}" stroke="#888"'
            ' stroke-dasharray="4 3"/>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _legend(place: int, name: str) -> list[str]:
    x = 10 + place * 105
    return [
        _box(x, HEAD - 6, 12, COLOURS[place % len(COLOURS)], name),
        _text(x + 16, HEAD + 6, name),
    ]


def _box(x: float, y: float, width: float, colour: str, tip: str) -> str:
    height = 12 if width == 12 else ROW - 6
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0.5):.1f}" height="{height}"'
        f' fill="{colour}"><title>{escape(tip)}</title></rect>'
    )


def _text(x: float, y: float, words: str, size: int = 12, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="#222">'
        f"{escape(words)}</text>"
    )
