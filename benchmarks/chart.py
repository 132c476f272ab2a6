"""A bar chart of the measured systems as one SVG file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _LABELS, _NUMBERS = 820, 250, 90
_BAR, _GAP, _HEAD = 18, 6, 34
_COLORS = {"ours": "#1f6feb", "others": "#8b949e"}


def bar_chart(title: str, values: Mapping[tuple[str, str], float], titles: Mapping[str, str]) -> str:
    """Draw one group of bars for each scenario; keys are scenario and system, `titles` what a system is called.

    Ours have a colour of their own; bars are in the order of the mapping, and begin at zero.
    """
    most = max(values.values(), default=0.0) or 1.0
    parts, top = [], _HEAD
    for scenario in dict.fromkeys(name for name, _ in values):
        parts.append(f'<text x="0" y="{top + 13}" class="scenario">{escape(scenario)}</text>')
        top += _BAR + _GAP
        for (_, system), value in _of(values, scenario):
            parts.append(_bar(titles.get(system, system), system, value, value / most, top))
            top += _BAR + _GAP
    style = "text{font:13px sans-serif}.title,.scenario{font-weight:bold}.name,.number{fill:#57606a}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + _GAP}" role="img">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f'<rect width="100%" height="100%" fill="#ffffff"/>'
        f'<text x="0" y="16" class="title">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )


def _of(values: Mapping[tuple[str, str], float], scenario: str) -> Sequence[tuple[tuple[str, str], float]]:
    return [(key, value) for key, value in values.items() if key[0] == scenario]


def _bar(name: str, system: str, value: float, share: float, top: int) -> str:
    color = _COLORS["ours" if system.startswith("tuning") else "others"]
    width = (_WIDTH - _LABELS - _NUMBERS) * share
    return (
        f'<text x="{_LABELS - 8}" y="{top + 13}" text-anchor="end" class="name">{escape(name)}</text>'
        f'<rect x="{_LABELS}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{color}"/>'
        f'<text x="{_LABELS + width + 6:.1f}" y="{top + 13}" class="number">{_number(value)}</text>'
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
