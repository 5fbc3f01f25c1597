"""Bits per byte by hand."""

import numpy as np

from fusionchat.represent.bits import NATS_PER_BIT, bits_per_byte


def test_bits_per_byte_of_a_unit_without_bytes_are_bits():
    assert bits_per_byte(6.0, 3) == 2.0 and bits_per_byte(6.0, 0) == 6.0


def test_a_bit_is_the_logarithm_of_two():
    assert np.log(0.125) / NATS_PER_BIT == -3.0 and float(np.log(2.0)) == NATS_PER_BIT
