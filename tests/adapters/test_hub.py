"""Upgrades on the Hugging Face hub, of which a server on this machine stands in for the HTTP API."""

import json

import numpy as np
import pytest
import yaml
from hub import hub_standing_in

from embridge import ArtefactError, InvalidInput, ServiceError, Space, Upgrade
from embridge.adapters import Identity, Provenance
from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import fingerprint
from embridge.evaluation import Cell, Report, Task, summarise
from embridge.evaluation.report_files import summary_to_dict

NEW, OLD = Space("new", "1", 3), Space("old", "1", 2)
REPORT = {
    "figures": [
        {"direction": "t2i", "cell": cell, "metric": "recall_at_1", "interval": {"value": value, "low": 0, "high": 1}}
        for cell, value in (("old/old", 0.25), ("new/old", 0.5))
    ]
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_standing_in(monkeypatch, tmp_path / "cache") as hub:
        yield hub


def upgrade(scale=1.0):
    bridge = Linear(NEW, OLD, scale * np.eye(3, 2, dtype=np.float32))
    return Upgrade(Identity(NEW, NEW), bridge, Provenance("ridge", figures={"held_out": 0.5}))


def test_what_was_pushed_is_what_comes_back(hub, tmp_path):
    address = upgrade().push_to_hub("me/new-on-old", private=True, token="hf_abc")
    assert address.startswith(f"{hub.url}/me/new-on-old/commit/")
    assert (hub.tokens, hub.private["me/new-on-old"]) == ({"Bearer hf_abc"}, "private")
    back = Upgrade.from_hub("me/new-on-old", token="hf_abc")
    assert fingerprint(back.save(tmp_path / "back")) == fingerprint(upgrade().save(tmp_path / "own"))


def test_the_card_has_the_figures_as_metadata(hub):
    upgrade().push_to_hub("me/new-on-old", report=REPORT, card="Tried on *cats*.")
    files = hub.files("me/new-on-old")
    _, metadata, text = files["README.md"].decode().split("---\n", 2)
    data = yaml.safe_load(metadata)
    assert data["library_name"] == "embridge"
    (result,) = data["model-index"][0]["results"]
    assert result["dataset"]["name"].endswith("t2i")
    shown = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert shown == {"recall_at_1 of old/old": 0.25, "recall_at_1 of new/old": 0.5}
    assert text.strip().startswith("# new on an index of old")
    assert text.strip().endswith("Tried on *cats*.")
    assert json.loads(files["report.json"]) == REPORT


def test_the_report_of_an_evaluation_is_such_a_report(hub):
    rows, gains = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32)
    task = Task("", ("q",), ("g", "h"), 2, np.array([1]), gains)
    cells = tuple(Cell("", name, rows, gains, gains) for name in ("old/old", "new/old", "new/new", "naive"))
    report = summary_to_dict(summarise(Report((task,), cells, ("recall_at_1",))))
    upgrade().push_to_hub("me/new-on-old", report=report)
    (result,) = yaml.safe_load(hub.files("me/new-on-old")["README.md"].decode().split("---")[1])["model-index"][0][
        "results"
    ]
    shown = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert shown == {f"recall_at_1 of {cell.name}": 1.0 for cell in cells}


def test_a_later_upgrade_replaces_all_of_an_earlier_one_in_one_commit(hub):
    first = upgrade().push_to_hub("me/new-on-old", report=REPORT).rpartition("/")[2]
    hub.commits["me/new-on-old"][-1]["notes.txt"] = b"mine"
    upgrade(2.0).push_to_hub("me/new-on-old")
    assert set(hub.files("me/new-on-old")) == {
        ".gitattributes", "notes.txt", "README.md", "upgrade.json", "weights.safetensors",
    }  # fmt: skip
    assert len(hub.commits["me/new-on-old"]) == 3
    assert Upgrade.from_hub("me/new-on-old").bridge.weights()["weight"][0, 0] == 2
    del hub.commits["me/new-on-old"][1]["notes.txt"]
    assert Upgrade.from_hub("me/new-on-old", revision=first).bridge.weights()["weight"][0, 0] == 1


def test_what_is_no_upgrade_does_not_load(hub):
    upgrade().push_to_hub("me/new-on-old")
    hub.commits["me/new-on-old"].append(hub.files("me/new-on-old") | {"weights.safetensors": b"pickle"})
    with pytest.raises(ArtefactError, match=r"weights\.safetensors is not the file"):
        Upgrade.from_hub("me/new-on-old")


def test_refusals_of_the_hub_are_told(hub):
    with pytest.raises(ServiceError, match="me/nothing on the Hugging Face hub: RepositoryNotFoundError"):
        Upgrade.from_hub("me/nothing")
    upgrade().push_to_hub("me/new-on-old")
    with pytest.raises(ServiceError, match="RevisionNotFoundError: it has no such revision; name a branch"):
        Upgrade.from_hub("me/new-on-old", revision="v9")
    with pytest.raises(InvalidInput, match=r"expected a repository as OWNER/NAME, came 'me/\.\./x'"):
        Upgrade.from_hub("me/../x")
    with pytest.raises(InvalidInput, match="the report has no figures"):
        upgrade().push_to_hub("me/other", report={"recall": 1})
    with pytest.raises(InvalidInput, match="the card: expected text, came int"):
        upgrade().push_to_hub("me/other", card=5)
    with pytest.raises(InvalidInput, match="the card holds half of a surrogate pair"):
        upgrade().push_to_hub("me/other", card="\ud800")
    assert set(hub.commits) == {"me/new-on-old"}


def test_a_machine_without_a_network_says_so(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ServiceError, match="HF_HUB_OFFLINE is set, and the cache on this machine does not have it"):
        Upgrade.from_hub("me/nothing")
    with pytest.raises(ServiceError, match="HF_HUB_OFFLINE is set, so nothing is sent"):
        upgrade().push_to_hub("me/nothing")
