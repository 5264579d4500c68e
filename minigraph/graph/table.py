"""Tables of text, and times in words, for summaries and profiles."""

from __future__ import annotations

from collections.abc import Container, Sequence


def table(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> str:
    """Rows of as many texts each, as lines with aligned columns; the columns `right` are aligned at their right."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [text.rjust(widths[i]) if i in right else text.ljust(widths[i]) for i, text in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """0.0123 -> "12.3 ms": to three digits, in s, ms or us."""
    unit, name = (1.0, "s") if seconds >= 0.9995 else (1e-3, "ms") if seconds >= 0.9995e-3 else (1e-6, "us")
    n = seconds / unit
    return f"{n:.{0 if n >= 99.95 else 1 if n >= 9.995 else 2}f} {name}"
