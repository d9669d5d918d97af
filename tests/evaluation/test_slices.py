import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.errors import InvalidInput
from embridge.evaluation import frequency_slices


@pytest.mark.slow
@given(st.dictionaries(st.text(min_size=1), st.integers(1, 1_000), min_size=1, max_size=30))
def test_parts_are_in_order_of_frequency_and_hold_their_shares(counts):
    parts = frequency_slices(counts)
    assert parts.keys() == counts.keys()
    traffic = {part: [counts[q] for q in counts if parts[q] == part] for part in ("head", "torso", "tail")}
    for more, less in (("head", "torso"), ("torso", "tail"), ("head", "tail")):
        if traffic[more] and traffic[less]:
            assert min(traffic[more]) >= max(traffic[less])
    total = sum(counts.values())
    assert sum(traffic["tail"]) <= 0.1 * total + 1e-9
    assert sum(traffic["head"]) >= 0.5 * total or not traffic["torso"] + traffic["tail"]


@pytest.mark.parametrize("settings", [{"counts": {}}, {"counts": {"a": 0}}, {"counts": {"a": 1}, "head": 0.7}])
def test_counts_and_shares_that_cannot_be_are_refused(settings):
    with pytest.raises(InvalidInput, match="expected counts above 0"):
        frequency_slices(**settings)
