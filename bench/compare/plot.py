"""Bars as SVG, for light and dark pages."""

import dataclasses
import html

WIDTH, LEFT, RIGHT, TOP, ROW = 860, 240, 150, 64, 30
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 15px } .faint { fill: #59636e }
.user { fill: #8c959f } .system { fill: #c8ced5 } .ours .user { fill: #0969da } .ours .system { fill: #80b8f5 }
.ours text { font-weight: 600 } .spread { stroke: #1f2328; stroke-width: 1.5; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .faint { fill: #9198a1 } .user { fill: #767e87 } .system { fill: #454c54 }
  .ours .user { fill: #4493f8 } .ours .system { fill: #1f5fb0 } .spread { stroke: #e6edf3 }
}
"""


@dataclasses.dataclass
class Bar:
    label: str
    parts: list  # one value, or those of user and of system
    spread: dict  # median, lowest, highest
    ours: bool


def chart(title, unit, bars, digits):
    """Draws horizontal bars, one for each peer, with the spread of the rounds as a line."""
    most = max(bar.spread["highest"] for bar in bars) or 1
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + ROW * len(bars) + 16
    both = any(len(bar.parts) > 1 for bar in bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(title)}">',
        f"<style>{STYLE}</style>", f'<text class="title" x="16" y="24">{html.escape(title)}</text>',
        f'<text class="faint" x="16" y="44">{html.escape(unit)}; less is better{"; dark: user, pale: system" if both else ""}</text>',
    ]
    for index, bar in enumerate(bars):
        y, x = TOP + ROW * index, float(LEFT)
        lines.append(f'<g class="{"ours" if bar.ours else "peer"}">')
        lines.append(f'<text x="{LEFT - 10}" y="{y + 16}" text-anchor="end">{html.escape(bar.label)}</text>')
        for name, value in zip(("user", "system"), bar.parts):
            width = max(0.0, value * scale)
            lines.append(f'<rect class="{name}" x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="20"/>')
            x += width
        low, high = (LEFT + bar.spread[name] * scale for name in ("lowest", "highest"))
        lines.append(f'<path class="spread" d="M{low:.1f} {y + 8}v8M{low:.1f} {y + 12}H{high:.1f}M{high:.1f} {y + 8}v8"/>')
        lines.append(f'<text x="{max(x, high) + 8:.1f}" y="{y + 16}">{bar.spread["median"]:,.{digits}f}</text></g>')
    return "\n".join([*lines, "</svg>"]) + "\n"
