"""A titled table with lines below it, for a terminal or for a Markdown file."""

from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from peftlab.errors import escaped, shown


@dataclass(frozen=True)
class Grid:
    """Cells as text: the first `names` columns say what a row is, the others are numbers.

    A line break in a column's name keeps the column narrow.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]
    names: int = 1

    def print(self, console: Console) -> None:
        """Print within the console's width; names are folded where they must be, never cut off."""
        table = Table(
            title=Text(escaped(self.title), style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False
        )
        table.padding = 0
        for index, column in enumerate(self.columns):
            number = index >= self.names
            table.add_column(column, justify="right" if number else "left", no_wrap=number, overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(shown(cell)) for cell in row))
        console.print(table)
        for note in self.notes:
            console.print(escaped(note), markup=False, highlight=False)

    def to_markdown(self) -> str:
        """Return title, table and notes as Markdown; what would end a cell or begin a list is escaped."""
        header = [column.replace("\n", " ") for column in self.columns]
        rule = ["---"] * self.names + ["---:"] * (len(header) - self.names)
        table = "\n".join(_line(cells) for cells in [header, rule, *self.rows])
        return "\n\n".join([f"**{_literal(self.title)}**", table, *map(_literal, self.notes)])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(map(_literal, cells))} |"


def _literal(text: str) -> str:
    return escaped(text).replace("|", r"\|").replace("*", r"\*")
