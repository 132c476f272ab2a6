"""Read a text file that somebody named: of bounded length, and nothing that could be waited for without end."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 16 << 20
"""More than any document of settings has, and little enough to be read at once."""
_OPENED_BY_THE_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/")
"""Where the pipes are that a shell makes for `<(command)`: their writer is there already."""


def read_text(path: str | Path) -> str:
    """Read a UTF-8 text; a byte order mark is left out.

    Raises:
        OSError: it cannot be read, is a pipe that nobody may write to, or has more than `MOST_BYTES` bytes.
        UnicodeDecodeError: it is not UTF-8.
    """
    file = Path(path)
    if "\0" in str(file):
        raise OSError("no name of a file holds a null byte")
    if file.is_fifo() and not str(file).startswith(_OPENED_BY_THE_SHELL):
        raise OSError("it is a named pipe, and may never end")
    with file.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(f"it has more than {MOST_BYTES >> 20} MiB")
    return content.decode("utf-8-sig")
