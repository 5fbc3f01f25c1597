"""Arrays with zeros of both signs, ties, near ties and all sizes."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

values = arrays.arrays(
    np.float32,
    st.integers(1, 300),
    elements=st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0078125]), st.floats(-(2.0**90), 2.0**90, width=32)
    ),
)
