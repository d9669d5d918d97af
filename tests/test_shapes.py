"""The tests see wrong shapes and wrong types; production checks neither."""

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintParamViolation
from jaxtyping import TypeCheckError

from embridge.embeddings import float32_rows, require_vectors
from embridge.evaluation.statistics import weighted_mean


def test_one_size_has_one_name_in_a_call():
    with pytest.raises(TypeCheckError, match=r"parameters of embridge\.evaluation\.statistics\.weighted_mean"):
        weighted_mean(np.ones((2, 2)))
    with pytest.raises(TypeCheckError, match="weights"):
        weighted_mean(np.ones(2), np.ones(3))
    with pytest.raises(TypeCheckError, match="float32_rows"):
        float32_rows("rows", slice(2))


def test_types_are_seen_where_no_shape_is_stated():
    with pytest.raises(BeartypeCallHintParamViolation, match="require_vectors"):
        require_vectors(np.ones((2, 4)), dim="four", what="rows")


@pytest.mark.usefixtures("as_in_production")
def test_production_checks_neither():
    assert weighted_mean(np.ones((2, 2))) == 1
    require_vectors(np.ones((2, 4), np.float32), dim=4.0, what="rows")
