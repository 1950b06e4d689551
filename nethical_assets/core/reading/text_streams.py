"""Bytes of a text file as checked UTF-8, in pieces.

What belongs here: decoding, and refusing what is not text, with the byte offset. What does not: rows and columns
(``row_streams``).
"""

from __future__ import annotations

import codecs
import io
from pathlib import Path

from nethical_assets.core.reading.encodings import guess_encoding, marked_encoding, unmarked_encoding
from nethical_assets.core.reading.kinds import other_kind
from nethical_assets.core.reading.tally import UnreadableError

PIECE_BYTES = 1 << 20
_PROBE_BYTES = 1 << 16
_TAIL_BYTES = 64
_MAXIMUM_CONTROL_SHARE = 0.02
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))


def find_codec(encoding: str, shown: str) -> codecs.CodecInfo:
    """Python's codec of a text encoding.

    Raises:
        UnreadableError: there is none of this name; ``shown`` begins the message.
    """
    try:
        codec = codecs.lookup(encoding)
        # A wrapper refuses codecs that are no encodings of text, such as hex.
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        known = codec.incrementaldecoder is not None
    except (LookupError, ValueError):
        known = False
    if not known:
        use = "use a name such as utf-8, latin-1 or cp1252"
        raise UnreadableError(f"{shown}: unknown encoding {encoding!r}", use, use)
    return codec


class Utf8Stream(io.RawIOBase):
    """A file in any encoding, read as UTF-8 without its byte order mark.

    Args:
        path: the file.
        encoding: its declared encoding, any name Python's codecs know.
        shown: how errors name the file.
        trailer: bytes delivered after the file's own, on a line of their own.

    Raises:
        UnreadableError: the encoding is unknown, the file is empty or binary, or (while reading) a byte is not valid in
            the encoding; the message holds the byte offset.
    """

    def __init__(self, path: Path, encoding: str, shown: str, trailer: bytes = b"") -> None:
        super().__init__()
        self.shown = shown
        self.encoding = encoding
        self.tail = b""
        codec = find_codec(encoding, shown)
        name = codec.name
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._passes_through = name in ("utf-8", "utf-8-sig", "ascii")
        self._wide = name.startswith(("utf-16", "utf-32"))
        self._path = path
        self._offset = 0
        self._lines = 0
        self._ready = b""
        self._trailer = trailer
        self._finished = False
        self._file = open(path, "rb")  # noqa: SIM115  # closed by close()
        try:
            self._refuse_binary()
            self._ready = self._next_piece().removeprefix(codecs.BOM_UTF8)
        except BaseException:
            self._file.close()
            raise

    def readable(self) -> bool:
        """Always true."""
        return True

    def peek(self) -> bytes:
        """The next bytes, without consuming them: at most the first piece of the file."""
        return self._ready

    def read(self, size: int = -1) -> bytes:
        """Exactly ``size`` bytes unless the end is reached, or the next piece when negative; empty only at the end."""
        while len(self._ready) < max(size, 1) and not self._finished:
            self._ready += self._next_piece()
        if size < 0:
            size = len(self._ready)
        result, self._ready = self._ready[:size], self._ready[size:]
        return result

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_file"):  # what failed to open is closed too
            self._file.close()
        super().close()

    def _refuse_binary(self) -> None:
        probe = self._file.read(_PROBE_BYTES)
        self._file.seek(0)
        if not probe:
            raise UnreadableError(f"{self.shown}: the file is empty", "fetch it again or remove it from datasets.toml")
        if self._wide:
            return
        if (marked := marked_encoding(probe)) is not None:
            raise UnreadableError(
                f"{self.shown}: not {self.encoding} text: it begins with the byte order mark of {marked}",
                f"declare its 'encoding' in datasets.toml: {marked}",
                f"say --encoding {marked}",
            )
        if (other := other_kind(probe)) is not None:
            raise UnreadableError(f"{self.shown}: it is {other.what} and no text", other.do, other.do)
        if (unmarked := unmarked_encoding(probe)) is not None:
            raise UnreadableError(
                f"{self.shown}: not {self.encoding} text: it reads like {unmarked} without a byte order mark",
                f"declare its 'encoding' in datasets.toml: {unmarked}",
                f"say --encoding {unmarked}",
            )
        self._refuse_zero(probe)
        controls = len(probe) - len(probe.translate(None, _CONTROL_BYTES))
        if controls > _MAXIMUM_CONTROL_SHARE * len(probe):
            raise UnreadableError(
                f"{self.shown}: binary data, not {self.encoding} text ({controls} control bytes in the first "
                f"{len(probe)})",
                "declare its real format or encoding in datasets.toml",
                "name a table, or its real encoding with --encoding",
            )

    def _next_piece(self) -> bytes:
        """The next non-empty decoded piece, the trailer, or nothing at the end."""
        while piece := self._file.read(PIECE_BYTES):
            decoded = self._decode(piece, final=False)
            self._offset += len(piece)
            self._lines += piece.count(b"\n")
            if decoded:
                self.tail = decoded[-_TAIL_BYTES:]
                return decoded
        self._finished = True
        rest = self._decode(b"", final=True)
        if self._trailer:
            rest += self._trailer if self.ended_with_newline and not rest else b"\n" + self._trailer
        return rest

    @property
    def ended_with_newline(self) -> bool:
        """Whether the last byte delivered so far, the trailer aside, ends a line."""
        return self.tail.endswith((b"\n", b"\r"))

    def _decode(self, piece: bytes, *, final: bool) -> bytes:
        if not self._wide:
            self._refuse_zero(piece)
        waiting = self._decoder.getstate()[0]
        if self._passes_through and not waiting and piece.isascii():
            return piece
        try:
            return self._decoder.decode(piece, final).encode()
        except UnicodeDecodeError as error:
            offset = self._offset - len(waiting) + error.start
            where = "" if self._wide else f", in line {self._line(error.object[: error.start])},"
            likely = self._likely_encoding()
            raise UnreadableError(
                f"{self.shown}: byte {offset} (0x{error.object[error.start]:02x}){where} is not valid {self.encoding}",
                f"declare the file's real 'encoding' in datasets.toml ({likely})",
                f"say the file's real encoding with --encoding ({likely})",
            ) from None
        except UnicodeError:
            raise UnreadableError(
                f"{self.shown}: not valid {self.encoding} near byte {self._offset}",
                "declare the file's real 'encoding' in datasets.toml",
                "say the file's real encoding with --encoding",
            ) from None

    def _refuse_zero(self, piece: bytes) -> None:
        if (position := piece.find(0)) >= 0:
            raise UnreadableError(
                f"{self.shown}: binary data (a zero byte) at byte {self._offset + position}, in line "
                f"{self._line(piece[:position])}: the file is damaged or not text",
                "fetch it again or declare its real format in datasets.toml",
                "remove it, or name a table or its real encoding with --encoding",
            )

    def _line(self, before: bytes) -> int:
        """The number of a line, from 1, of which ``before`` are the bytes that precede it in this piece."""
        return self._lines + before.count(b"\n") + 1

    def _likely_encoding(self) -> str:
        guess = guess_encoding(self._path)
        if not guess.guessed:
            return "cp1252, gb18030, shift_jis, cp1251, ..."
        return f"it reads like {guess.encoding}, which is a guess"
