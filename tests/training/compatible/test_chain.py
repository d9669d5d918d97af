from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from labelled_glyphs import KNOWN, QUICK, SCRIPTS, SIDE, items, network

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Composed, Identity, Linear, Prefix, Provenance
from embridge.adapters.base import normalized
from embridge.errors import ArtefactError, InvalidInput, SettingsError, SpaceMismatch, WrongDirection
from embridge.evaluation import LabelRelevance, Scope, Side, average_accuracy, average_compatibility, evaluate
from embridge.nearest import top_k
from embridge.training.compatible.chain import Chain, chain_reports, compatibility_matrices
from embridge.training.compatible.image_data import ImageArrays
from embridge.training.compatible.old_models import old_model
from embridge.training.objectives.bc_aligner import BCAligner
from embridge.training.objectives.bct import BCT, BCTSettings
from embridge.training.objectives.bt2 import BT2, BT2Settings
from embridge.training.objectives.independent import Independent, IndependentSettings
from embridge.training.objectives.ndpp import NDPP
from embridge.training.objectives.oca import OCA, OCASettings
from embridge.training.objectives.odpp import ODPP, ODPPSettings

RANDOM = np.random.default_rng(0)
LABELS = {str(i): "abc"[i % 3] for i in range(30)}
RELEVANCE = LabelRelevance(LABELS, LABELS)
SCOPE = Scope(metrics=["cmc_at_1", "map_at_5"], directions=[""])


def version(number, dim):
    return Space(f"version {number}", "1", dim)


def link(new, old, bridge=Prefix, encoders=None):
    return Upgrade(Identity(new, new), bridge(new, old), Provenance("known", seed=new.dim, encoders=encoders or {}))


def chain_of(dims, bridge=Prefix):
    spaces = [version(number, dim) for number, dim in enumerate(dims)]
    return Chain([link(new, old, bridge) for old, new in pairwise(spaces)])


def rotated(new, old):
    return Linear(new, old, np.random.default_rng(new.dim).normal(size=(new.dim, old.dim)).astype(np.float32))


def rows_of(space, count=30, seed=0):
    drawn = np.random.default_rng((seed, space.dim)).normal(size=(count, space.dim)).astype(np.float32)
    return Embeddings.of(normalized(drawn), space)


def step_by_step(chain, rows, old):
    for one in reversed(chain.links[old : chain.number(rows.space)]):
        rows = one.to_index_space(rows)
    return rows


def matrix_of(chain, sides, relevance=RELEVANCE):
    return compatibility_matrices(chain_reports(chain, sides, relevance, scope=SCOPE))[""]


# The way from one version to another


@pytest.mark.parametrize("dims", [(4, 6, 9, 12), (5, 5, 5, 5), (3, 3, 8, 8)], ids=str)
@pytest.mark.parametrize(("new", "old"), [(t, s) for t in range(4) for s in range(t)])
def test_cuts_nest(dims, new, old):
    chain = chain_of(dims)
    rows = rows_of(chain.spaces[new])
    upgrade = chain.upgrade(old, new=new)
    assert type(upgrade.bridge) is Prefix
    bridged, walked = upgrade.to_index_space(rows), step_by_step(chain, rows, old)
    assert bridged.space == walked.space == chain.spaces[old]
    np.testing.assert_allclose(bridged.vectors, walked.vectors, atol=1e-6)
    if dims[new] == dims[old]:
        np.testing.assert_allclose(bridged.vectors, rows.vectors, atol=1e-6)


def test_other_bridges_are_composed():
    chain = chain_of((4, 6, 9, 12), rotated)
    rows = rows_of(chain.spaces[3])
    upgrade = chain.upgrade(0)
    assert isinstance(upgrade.bridge, Composed)
    np.testing.assert_allclose(upgrade.to_index_space(rows).vectors, step_by_step(chain, rows, 0).vectors, rtol=1e-5)


def test_a_version_is_named_by_number_or_space():
    chain = chain_of((4, 6, 9))
    assert [len(chain), *(space.dim for space in chain.spaces)] == [3, 4, 6, 9]
    assert chain.upgrade(1) is chain.links[1]
    assert chain.upgrade(chain.spaces[0], new=chain.spaces[1]) is chain.upgrade(0, new=1) is chain.links[0]
    assert chain.number(chain.spaces[2]) == 2


def test_the_way_over_several_links_says_where_it_comes_from(tmp_path):
    a, b, c = (version(number, dim) for number, dim in enumerate((3, 4, 5)))
    named = [{"old": "trained:a", "new": "trained:b"}, {"old": "trained:b", "new": "trained:c"}]
    made = Chain([link(b, a, encoders=named[0]), link(c, b, encoders=named[1])]).upgrade(0)
    made.save(tmp_path / "way")
    read = Upgrade.load(tmp_path / "way").provenance
    assert read.encoders == {"old": "trained:a", "new": "trained:c"}
    assert [one["seed"] for one in read.settings["links"]] == [4, 5]
    assert (read.method, read.seed) == ("chain", 5)


# From folders


def test_a_chain_is_read_from_the_folders_of_its_upgrades(tmp_path):
    chain = chain_of((4, 6, 9))
    folders = [one.save(tmp_path / f"upgrade-{number}") for number, one in enumerate(chain.links)]
    read = Chain.load(folders)
    assert read.spaces == chain.spaces
    rows = rows_of(chain.spaces[2])
    np.testing.assert_array_equal(
        read.upgrade(0).bridge.apply(rows.vectors), chain.upgrade(0).bridge.apply(rows.vectors)
    )
    inside = [one.save(tmp_path / f"model-{number}" / "upgrade").parent for number, one in enumerate(chain.links)]
    assert Chain.load([str(folder) for folder in inside]).spaces == chain.spaces
    with pytest.raises(
        SpaceMismatch, match=r"link 1 of the chain makes version 2.*, and link 2 is on .*version 0.*oldest"
    ):
        Chain.load(folders[::-1])
    with pytest.raises(ArtefactError, match="nothing-here is not an upgrade"):
        Chain.load([*folders, tmp_path / "nothing-here"])


# What is refused


def test_links_that_make_no_chain_are_refused():
    a, b, c = (version(number, 4) for number in range(3))
    with pytest.raises(SettingsError, match=r"at least one upgrade.* came none"):
        Chain([])
    with pytest.raises(SettingsError, match="at least one upgrade"):
        Chain.load([])
    with pytest.raises(SpaceMismatch, match=r"link 1 of the chain makes version 1.* is on an index of version 0"):
        Chain([link(b, a), link(c, a)])
    with pytest.raises(SettingsError, match=r"each version once; version 0.* comes twice"):
        Chain([link(b, a), link(a, b)])
    forward = Upgrade(Identity(b, b), Prefix(a, b), Provenance("known"), direction="forward")
    with pytest.raises(WrongDirection, match="link 1 of the chain is a forward upgrade"):
        Chain([forward])


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (3, None, SettingsError, "there is no version 3 in this chain; there are 0 to 2"),
        (-1, None, SettingsError, "there is no version -1"),
        (0, 7, SettingsError, "there is no version 7"),
        (version(9, 4), None, SpaceMismatch, "no version of this chain makes version 9.*; they make version 0"),
        (version(0, 5), None, SpaceMismatch, "no version of this chain makes version 0@1 .5-d"),
        (2, 0, WrongDirection, "version 0 is to search a gallery of version 2: the older one searches no newer"),
        (2, None, WrongDirection, "version 2 is to search a gallery of version 2: its own, which needs no upgrade"),
    ],
)
def test_versions_that_have_no_way_are_refused(old, new, error, message):
    with pytest.raises(error, match=message):
        chain_of((4, 6, 9)).upgrade(old, new=new)


# The matrix


def test_the_matrix_is_its_naive_loop():
    chain = chain_of((4, 6, 9))
    sides = [Side(rows, rows) for rows in (rows_of(space) for space in chain.spaces)]
    found = matrix_of(chain, sides)
    assert set(found) == {"cmc_at_1", "map_at_5"}
    for t in range(3):
        for s in range(t + 1):
            queries = sides[t].queries.vectors[:, : chain.spaces[s].dim]
            right = 0
            for query, row in enumerate(queries):
                scores = sides[s].gallery.vectors @ (row / np.linalg.norm(row))
                scores[query] = -2
                right += LABELS[str(scores.argmax())] == LABELS[str(query)]
            assert found["cmc_at_1"][t, s] == pytest.approx(right / 30)
    assert np.isnan(found["cmc_at_1"][np.triu_indices(3, 1)]).all()
    assert average_accuracy(found["cmc_at_1"]) == pytest.approx(np.nanmean(found["cmc_at_1"]))


def test_each_pair_is_measured_as_its_upgrade_is():
    chain, told = chain_of((4, 6, 9), rotated), []
    sides = [Side(rows_of(space, 10, seed=1), rows_of(space)) for space in chain.spaces]
    reports = {
        (t, s): report
        for t, s, report in chain_reports(
            chain, sides, RELEVANCE, scope=SCOPE, progress=lambda *said: told.append(said)
        )
    }
    assert set(reports) == {(1, 0), (2, 0), (2, 1)}
    alone = evaluate(sides[0], sides[2], chain.upgrade(0), RELEVANCE, scope=SCOPE)
    assert reports[2, 0].figures() == alone.figures()
    assert told[-1] == (3, 3, "pairs of versions")
    assert len(told) == 3


def test_heads_write_what_their_version_is_asked_for():
    """Versions that are heads on the vectors of one frozen model: each side is of that model's vectors."""
    frozen, spaces = Space("frozen", "1", 7), [version(number, dim) for number, dim in enumerate((3, 4, 5))]
    heads = [Linear(frozen, s, RANDOM.normal(size=(7, s.dim)).astype(np.float32)) for s in spaces]
    links = [Upgrade(heads[t], Prefix(spaces[t], spaces[t - 1]), Provenance("known")) for t in (1, 2)]
    rows, chain = rows_of(frozen), Chain(links)
    first = heads[0](rows)
    found = matrix_of(chain, [Side(first, first), Side(rows, rows), Side(rows, rows)])
    crossed = top_k(chain.upgrade(0).to_index_space(rows).vectors, first.vectors, 2).rows
    nearest = np.where(crossed[:, 0] == np.arange(30), crossed[:, 1], crossed[:, 0])
    right = np.mean([LABELS[str(a)] == LABELS[str(b)] for a, b in enumerate(nearest)])
    assert found["cmc_at_1"][2, 0] == pytest.approx(right)


def test_sides_of_other_versions_are_refused():
    chain = chain_of((4, 6))
    sides = [Side(rows, rows) for rows in (rows_of(space) for space in chain.spaces)]
    with pytest.raises(InvalidInput, match="the chain has 2 versions, and 1 sides came"):
        matrix_of(chain, sides[:1])
    with pytest.raises(SpaceMismatch, match="the side of version 0: expected vectors of version 0"):
        matrix_of(chain, sides[::-1])


# Models that were trained in a row

LONGER = replace(QUICK, epochs=8)


@cache
def alone(count, dim):
    """The first version, which knows some of the scripts; with all of them, the paragon of BT²."""
    data = items("train")
    rows = np.flatnonzero(data.labels < count)
    known = ImageArrays(data.images[rows], data.labels[rows], SCRIPTS[:count], SIDE)
    torch.manual_seed(count)
    trained = LONGER.fit(known, network(dim, seed=count), Independent(None, count, IndependentSettings(dim=dim)))
    return trained.encoder(device="cpu")


def bt2(old, classes):
    rows = torch.from_numpy(alone(len(SCRIPTS), 8).encode(items("train").images, modality="image"))
    return BT2(old, classes, BT2Settings(extra=old.dim - 4, scale=20.0, prototype_scale=20.0), paragon=rows)


OBJECTIVES = {
    "oca": lambda old, classes: OCA(old, classes, OCASettings(extra=4, scale=20.0, prototype_scale=20.0)),
    "bt2": bt2,
    "bct": lambda old, classes: BCT(old, classes, BCTSettings(prototype_scale=20.0)),
    "ndpp": NDPP,
    "odpp": lambda old, classes: ODPP(old, classes, ODPPSettings(steps=(20, 2))),
    "bc-aligner": BCAligner,
}


def trained_in_a_row(name):
    """A second version beside the first, and a third beside that one; each with the space of the one before."""
    data, before, known, made = items("train"), alone(3, 16), KNOWN, []
    for seed in (1, 2):
        old = old_model(data, before, known=known)
        torch.manual_seed(seed)
        objective = OBJECTIVES[name](old, len(SCRIPTS))
        trained = LONGER.fit(data, network(objective.feature_dim, seed=seed), objective, seed=seed)
        made.append((trained, before.space))
        before, known = trained.encoder(device="cpu"), SCRIPTS
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_trained_versions_search_the_galleries_of_all_before(name, tmp_path):
    made = trained_in_a_row(name)
    chain = Chain.load([trained.save(tmp_path / f"{n}", old=old) for n, (trained, old) in enumerate(made)])
    encoders = [alone(3, 16), *(trained.encoder(device="cpu") for trained, _ in made)]
    assert chain.spaces == tuple(encoder.space for encoder in encoders)
    assert [space.dim for space in chain.spaces] == ([16, 20, 24] if name in ("oca", "bt2") else [16, 16, 16])
    data = items("test")
    seen = [Embeddings.of(encoder.encode(data.images, modality="image"), encoder.space) for encoder in encoders]
    walked = step_by_step(chain, seen[2], 0)
    np.testing.assert_allclose(chain.upgrade(0).to_index_space(seen[2]).vectors, walked.vectors, atol=1e-5)
    assert isinstance(chain.upgrade(0).bridge, Composed if name == "bc-aligner" else Prefix)
    labels = dict(zip(seen[0].ids, (SCRIPTS[label] for label in data.labels), strict=True))
    relevance, sides = LabelRelevance(labels, labels), [Side(rows, rows) for rows in seen]
    matrix = matrix_of(chain, sides, relevance)["cmc_at_1"]
    assert matrix[np.tril_indices(3, -1)].mean() > 0.3  # a fifth by chance
    crossed = [float(matrix[t, s] > matrix[s, s]) for t, s in ((1, 0), (2, 0), (2, 1))]
    assert average_compatibility(matrix, ties="fail") == pytest.approx(np.mean(crossed))
