import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.errors import InvalidInput, SpaceMismatch
from embridge.space import Space, require_same

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SPACES = st.builds(
    Space,
    TEXT.filter(lambda t: t.strip()),
    TEXT,
    st.integers(1, 10_000),
    st.sampled_from(["cosine", "dot", "l2"]),
    TEXT,
)
CLIP = Space("clip", "1", 512)


@given(SPACES)
def test_a_space_survives_json_and_names_a_column(space):
    assert Space.from_dict(space.to_dict()) == space
    assert f"space_{space.id}".isidentifier()
    assert len(space.id) == 12


@given(SPACES, SPACES)
def test_ids_are_equal_exactly_where_spaces_are(a, b):
    assert (a.id == b.id) == (a == b)


@pytest.mark.parametrize(
    "other",
    [
        Space("clap", "1", 512),
        Space("clip", "2", 512),
        Space("clip", "1", 511),
        Space("clip", "1", 512, "l2"),
        Space("clip", "1", 512, recipe="passage: "),
    ],
    ids=lambda s: s.id,
)
def test_every_field_tells_spaces_apart(other):
    assert other.id != CLIP.id
    with pytest.raises(SpaceMismatch, match=r"rows: expected vectors of clip@1 .* they differ in \w+\."):
        require_same(CLIP, other, what="rows")


@pytest.mark.slow
def test_the_id_does_not_depend_on_the_process():
    code = "from embridge import Space; print(Space('clip', '1', 512).id)"
    ids = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert ids == {CLIP.id}


def test_an_id_that_names_tables_on_disk_never_changes():
    assert Space("clip-vit-b32", "3d74acf", 512).id == "5e20addef883"
    assert Space("modèle", "", 7, "l2", "query: ").id == "94d682523bef"


def test_equal_dimensions_are_warned_of_and_others_are_not():
    with pytest.raises(SpaceMismatch, match="Equal dimensions do not make them comparable"):
        require_same(CLIP, Space("clip", "2", 512), what="rows")
    with pytest.raises(SpaceMismatch, match=r"^(?!.*Equal dimensions)"):
        require_same(CLIP, Space("clip", "2", 511), what="rows")


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("dim", [0, -1, 2.0, True, "2", None])
def test_a_dim_is_a_whole_number_of_at_least_one(dim):
    with pytest.raises(InvalidInput, match="whole dim of at least 1"):
        Space("toy", "1", dim)


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("fields", [("", "1"), ("  ", "1"), (None, "1"), ("toy", None)])
def test_a_model_has_a_name_and_a_revision(fields):
    with pytest.raises(InvalidInput, match="needs a model name, a revision and a recipe as text"):
        Space(*fields, 2)


@pytest.mark.usefixtures("as_in_production")
def test_unknown_metrics_are_refused():
    with pytest.raises(InvalidInput, match="metric is one of cosine, dot, l2, not 'euclid'"):
        Space("toy", "1", 2, "euclid")


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("fields", [{}, {"model": "toy"}, [], None, CLIP.to_dict() | {"more": 1}])
def test_from_dict_takes_exactly_the_five_fields(fields):
    with pytest.raises(InvalidInput, match="a space is written as"):
        Space.from_dict(fields)


def test_a_space_reads_well():
    assert str(CLIP) == f"clip@1 (512-d cosine, space {CLIP.id})"
    assert str(Space("toy", "", 2)).startswith("toy@? (2-d")


def test_a_revision_of_an_earlier_release_is_said_how_to_state():
    with pytest.raises(
        SpaceMismatch, match=r"Encode with the expected model \(or state revision: before, if it is an earlier"
    ):
        require_same(Space("clip", "before", 2), Space("clip", "now", 2), what="queries")
    with pytest.raises(SpaceMismatch, match="Encode with the expected model, or map them with"):
        require_same(Space("clip", "before", 2), Space("clip", "now", 3), what="queries")
