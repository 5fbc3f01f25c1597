"""Streamed text broken between words instead of inside them."""

from rich.cells import cell_len

LONGEST = 24  # the most cells of a word that is held back until it ends


class Wrap:
    """Breaks lines of streamed text.

    A word is held back until it ends, so that it can move to the next line as a whole. Words longer than
    `LONGEST` cells, and those of wide characters, which have no spaces between them, are emitted at once.

    Args:
        width: Cells of a line; None to leave the text unchanged.
        column: Where the text begins.
    """

    def __init__(self, width: int | None, column: int = 0) -> None:
        self.width, self.column, self.word = width, column, ""
        self._begun = False  # whether the beginning of the word is already emitted

    def feed(self, text: str) -> str:
        """The text that can be shown after the next piece."""
        if self.width is None:
            return text
        out = ""
        for char in text:
            if char.isspace():
                out += self.flush() + self._space(char)
                continue
            self.word += char
            if cell_len(char) > 1:
                out += self.flush()
            elif cell_len(self.word) > min(LONGEST, self.width):
                out += self._out()
                self._begun = True
        return out

    def flush(self) -> str:
        """The text that was held back, at the end of a word."""
        out = self._out()
        self._begun = False
        return out

    def _out(self) -> str:
        """The held part of a word, on a new line if it does not fit; the rest of a long word continues."""
        word, self.word = self.word, ""
        if self.width is None:
            return word
        size = cell_len(word)
        if self._begun or self.column + size <= self.width or not self.column:
            self.column += size
            while self.column > self.width:  # the terminal breaks it
                self.column -= self.width
            return word
        self.column = size
        return "\n" + word

    def _space(self, char: str) -> str:
        """A space or line end; a space at the end of a line becomes the line end before the next word."""
        assert self.width is not None
        if char == "\n":
            self.column = 0
            return char
        if self.column >= self.width:
            return ""
        self.column += 1
        return " " if char == "\t" else char
