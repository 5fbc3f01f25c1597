"""Streamed text broken between words instead of inside them."""

from rich.cells import cell_len

LONGEST = 24  # cells of a word that is held back until it ends


class Wrap:
    """Breaks lines of text that comes in pieces.

    A word is held back until it ends, so that it can go to the next line whole. Words longer than `LONGEST` cells
    and those of wide characters, which stand without spaces, go out at once.

    Args:
        width: Cells of a line, None to leave the text as it is.
        column: Where the text begins.
    """

    def __init__(self, width: int | None, column: int = 0) -> None:
        self.width, self.column, self.word = width, column, ""
        self._begun = False  # whether the beginning of the word is out already

    def feed(self, text: str) -> str:
        """What can be shown after the next piece of text."""
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
        """What is held back, at the end of a word."""
        out = self._out()
        self._begun = False
        return out

    def _out(self) -> str:
        """The held part of a word, on a new line where it does not fit; the rest of a long word just goes on."""
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
        """A space or line end; a space at the end of a line becomes the line end that the next word brings."""
        assert self.width is not None
        if char == "\n":
            self.column = 0
            return char
        if self.column >= self.width:
            return ""
        self.column += 1
        return " " if char == "\t" else char
