import numpy as np
import pytest
from chains import chain_of, link, rotated, rows_of, step_by_step, version

from embridge import Upgrade
from embridge.adapters import Composed, Identity, Prefix
from embridge.adapters.chain import Chain
from embridge.errors import ArtefactError, SettingsError, SpaceMismatch, WrongDirection
from embridge.provenance import Provenance

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
