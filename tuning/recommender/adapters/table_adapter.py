"""An adapter for a format of one file that a table of rows describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.action import Recommendation
from tuning.recommender.adapters.adapter import Adapter, Exported, Imported
from tuning.recommender.adapters.mapping import Reading, Row, Writing


class TableAdapter(Adapter):
    """A format of one file that a table describes, with two hooks for what no single row can say."""

    title = ""
    """The program's name as people write it."""
    rows: Sequence[Row] = ()
    not_read: Mapping[str, str] = {}
    """Their keys (or first parts of them) without a counterpart here, with the reason."""
    not_written: Mapping[str, str] = {}
    """Our paths (or first parts of them) without a counterpart there, with the reason."""
    file_name = ""

    def read(self, document: Mapping[str, Any], source: str) -> Imported:
        """Make our document of theirs."""
        reading = Reading(document, source)
        self.read_first(reading)
        for row in self.rows:
            reading.carry(row)
        return reading.finish(self.not_read, "has no counterpart here")

    def write(self, ir: IR, recommendations: Sequence[Recommendation] = ()) -> Exported:
        """Make their file of our document."""
        writing = Writing(ir)
        self.write_first(writing)
        for row in self.rows:
            writing.carry(row)
        unmapped = writing.finish(self.title, self.not_written)
        return Exported({self.file_name: writing.document}, self.launch_command(ir), unmapped)

    def read_first(self, reading: Reading) -> None:
        """Take settings that several of their keys decide together."""

    def write_first(self, writing: Writing) -> None:
        """Take settings that several of our fields decide together."""

    def launch_command(self, ir: IR) -> list[str]:
        """Return the words of the command that starts a run with the file."""
        return []
