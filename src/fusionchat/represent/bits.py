"""Bits per UTF-8 byte of the text, from log-probabilities in nats. PURE.

**Bits per byte**, everywhere: the bits of the scored events (`fusionchat.represent.events`), ends of turns
included, over the UTF-8 bytes among them. An end of turn adds bits and no byte. Where there is no byte (a row
that is an end of turn), the length counts as 1.
"""

import math

NATS_PER_BIT = math.log(2.0)


def bits_per_byte(bits: float, size: int) -> float:
    """Bits per UTF-8 byte; the bits themselves where there is no byte."""
    return bits / max(size, 1)
