"""Tables in Markdown, and pages whose tables are written by a program."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes a table; every row is as long as the headings."""
    ruled = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in ruled)


def replace_table(page: str, name: str, table: str) -> str:
    """Puts a table between the lines `<!-- NAME -->` and `<!-- end -->` of a page.

    Raises:
        ValueError: If the page has not both, the first once.
    """
    first, last = f"<!-- {name} -->\n", "<!-- end -->"
    before, found, rest = page.partition(first)
    _, ended, after = rest.partition(last)
    if not found or not ended or first in rest:
        raise ValueError(f"page: wanted one line {first.strip()} and after it a line {last}")
    return f"{before}{found}{table}\n{ended}{after}"
