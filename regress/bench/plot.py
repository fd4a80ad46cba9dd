"""Bar charts as SVG: a panel for each case with a scale of its own, a bar for each server, a line
from the least to the most of the repetitions, the figure above the bar."""

import math
from xml.sax.saxutils import escape

# Told apart by those who don't see all colours as well.
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"]
ACROSS = 3
WIDTH, HEIGHT = 300, 230  # of a panel, its margins included
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 34, 30
HEAD, LINE = 44, 18


def text(x, y, words, size=11, anchor="start", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {more}>'
        f"{escape(words)}</text>")


def line(x1, y1, x2, y2, colour="#000", width=1):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"/>')


def ticks(most):
    """From 0 to at least `most` in four to eight round steps."""
    if most <= 0:
        return [0, 1]
    step = 10 ** math.floor(math.log10(most / 4))
    for factor in (1, 2, 2.5, 5, 10):
        if most / (step * factor) <= 6:
            step *= factor
            break
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.3g}"


def panel(x, y, title, unit, bars, colours):
    left, right = x + LEFT, x + WIDTH - RIGHT
    top, bottom = y + TOP, y + HEIGHT - BOTTOM
    scale = ticks(max(bar[3] for bar in bars if bar[3] is not None) * 1.08)
    parts = [text((left + right) / 2, y + 16, title, 12, "middle", 'font-weight="bold"')]

    def height(value):
        return bottom - (bottom - top) * value / scale[-1]

    for tick in scale:
        parts.append(line(left, height(tick), right, height(tick), "#ddd" if tick else "#000"))
        parts.append(text(left - 5, height(tick) + 4, f"{tick:,.6g}", 10, "end"))
    middle = (top + bottom) / 2
    parts.append(text(x + 13, middle, unit, 11, "middle",
        f'transform="rotate(-90 {x + 13} {middle:.1f})"'))
    room = (right - left) / len(bars)
    for place, (server, median, least, most, note) in enumerate(bars):
        centre = left + room * (place + 0.5)
        parts.append(text(centre, bottom + 15, server, 10, "middle"))
        if median is None:
            parts.append(text(centre, bottom - 5, note, 10, "middle"))
            continue
        parts.append(f'<rect x="{centre - room * 0.32:.1f}" y="{height(median):.1f}" '
            f'width="{room * 0.64:.1f}" height="{bottom - height(median):.1f}" '
            f'fill="{colours[server]}"/>')
        if most > least:
            parts.append(line(centre, height(least), centre, height(most), width=1.5))
        parts.append(text(centre, height(most) - 4, number(median), 10, "middle"))
    return parts


def chart(title, unit, panels, legend, foot):
    """`panels`: [(title, [(server, median, least, most, note)])]; median None where there's only a
    note. `legend`: [(server, words)]. `foot`: lines below."""
    across = min(ACROSS, len(panels))
    rows = math.ceil(len(panels) / across)
    width = max(across, 2) * WIDTH + 20
    below = HEAD + rows * HEIGHT + 10
    height = below + (len(legend) + len(foot)) * LINE + 10
    colours = {server: COLOURS[place % len(COLOURS)] for place, (server, _) in enumerate(legend)}
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        text(width / 2, 26, f"{title} ({unit})", 16, "middle")]
    for place, (name, bars) in enumerate(panels):
        parts += panel(10 + place % across * WIDTH, HEAD + place // across * HEIGHT, name, unit,
            bars, colours)
    for place, (server, words) in enumerate(legend):
        y = below + place * LINE
        parts.append(f'<rect x="20" y="{y}" width="12" height="12" fill="{colours[server]}"/>')
        parts.append(text(38, y + 11, words))
    for place, words in enumerate(foot):
        parts.append(text(20, below + (len(legend) + place) * LINE + 12, words, 10,
            more='fill="#444"'))
    return "\n".join(parts + ["</svg>", ""])
