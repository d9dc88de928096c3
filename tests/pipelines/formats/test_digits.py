from __future__ import annotations

import io

import numpy as np

from pipelines.formats import digits
from pipelines.formats.rows import Given


def test_the_bundled_digits_are_dense_and_have_one_label_each() -> None:
    survey = digits.survey(io.BytesIO(), digits.PATH, Given())
    (block,) = digits.read(io.BytesIO(), digits.PATH, Given(), survey)
    assert (survey.rows, survey.d, survey.label_names) == (1797, 64, tuple("0123456789"))
    assert block.features.dtype == np.float32
    assert block.features.shape == (1797, 64)
    assert block.features.min() == 0
    assert block.features.max() == 16
    assert np.bincount(block.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
