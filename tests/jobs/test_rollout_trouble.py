"""What goes wrong around a rollout: full disks, plans of other stores, controllers that fell silent."""

import errno
import os
from contextlib import closing

import pytest
from kills import child
from planted_model import PROVIDER
from planted_rollout import NEW, ROWS, Project, plan

from embridge.encoders import PROVIDERS
from embridge.errors import EmbridgeError, InvalidInput
from embridge.jobs.rollout import apply_plan, filling, open_rollout
from embridge.rollout.lease import Lease

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    monkeypatch.setattr(filling, "_FOLLOWED_SECONDS", 0.0)
    project = Project(tmp_path, "faiss", None)
    project.folder.mkdir()
    project.make()
    plan(project.folder)
    project.keep(0)
    return project


def syncs(monkeypatch, full_at):
    """Counts what is written to the disk, which is full from the write of that number on; None for never."""
    sync, count = os.fsync, [0]

    def counted(descriptor):
        count[0] += 1
        if full_at is not None and count[0] > full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    return count


def test_a_disk_that_is_full_stops_a_rollout_which_goes_on_when_there_is_space(project, monkeypatch):
    def stopped():
        try:
            apply_plan(project.folder / "plan.json")
        except (EmbridgeError, OSError) as error:
            return str(error)
        return ""

    with monkeypatch.context() as patch:
        count = syncs(patch, None)
        assert stopped() == ""
    expected = project.seen()
    assert len(expected["rows"][NEW.model]) == ROWS
    for full_at in range(0, count[0], 7):
        project.restore(0)
        with monkeypatch.context() as patch:
            syncs(patch, full_at)
            message = child(stopped)
        assert "No space left on device" in message
        assert "\n" not in message
        project.seen()
        assert stopped() == ""
        assert project.seen() == expected


def test_a_plan_of_another_store_is_refused(project, tmp_path):
    other = Project(tmp_path / "beside", "faiss", None)
    other.folder.mkdir(parents=True)
    other.make()
    settings, path = project.folder / "rollout.yaml", project.folder / "plan.json"
    path.write_text(path.read_text().replace('"store": "faiss:', '"store": "faiss:/elsewhere'))
    with pytest.raises(InvalidInput, match="the plan's store changed since the plan was made"):
        apply_plan(path)
    settings.write_text(settings.read_text().replace("shop.faiss", str(other.folder / "shop.faiss")))
    with pytest.raises(InvalidInput, match="the settings changed since the plan was made"):
        apply_plan(project.folder / "plan.json")
    with closing(open_rollout(settings)) as opened:
        assert opened.state is None


def test_a_controller_that_fell_silent_holds_a_rollout_until_its_lease_expires(project):
    with closing(open_rollout(project.folder / "rollout.yaml")) as opened:
        documents, early = opened.store.documents, Lease(opened.store.documents, "elsewhere:1", clock=lambda: 1_000.0)
        early._write(None, "elsewhere:1")  # by a clock that is far behind, or long ago
        assert apply_plan(project.folder / "plan.json", until="bridged").state.phase == "bridged"
        assert documents.read("lease")["holder"] == ""
