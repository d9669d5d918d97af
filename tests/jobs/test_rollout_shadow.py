"""Queries are asked both ways before anybody sees the new model's answers, and gates go by what that shows."""

import json
import shutil
from contextlib import closing

import numpy as np
import pytest
from typer.testing import CliRunner

from embridge.adapters import Identity, Linear
from embridge.adapters.upgrade import Upgrade
from embridge.cli import app
from embridge.datasets import glyph_models
from embridge.embeddings import Embeddings
from embridge.encoders import load
from embridge.errors import GateRefused, InvalidInput, SettingsError
from embridge.evaluation import Relevance, Scope, Side, evaluate
from embridge.evaluation.report_files import save_report
from embridge.jobs.rollout import apply_plan, open_rollout, plan_rollout, shadow_rollout, watch_rollout
from embridge.methods import Pairs, make
from embridge.provenance import Provenance
from embridge.rollout.gallery import Gallery
from embridge.rollout.journal import entries
from embridge.rollout.plan import read_plan, write_plan
from embridge.space import Space
from embridge.stores import open_store

pytestmark = pytest.mark.slow
TEXTS = [f"latin small letter {chr(97 + i % 26)} number {i // 26}" for i in range(240)]
NAMES = TEXTS[:60]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shadow")
    names = {side: f"clip:{glyph_models.folder(side)}" for side in ("old", "new")}
    old, new = (load(names[side]) for side in ("old", "new"))
    sides = [Embeddings.of(each.encode(TEXTS, modality="text"), each.space, TEXTS) for each in (new, old)]
    fitted = make("procrustes").fit(Pairs(*sides))
    sides = [side.take(range(60)) for side in sides]
    upgrade = Upgrade(fitted.head, fitted.bridge, Provenance("procrustes", encoders=names))
    upgrade.save(folder / "upgrade")
    store = open_store(f"lancedb:{folder}/shop", create=True)
    store.add_space(old.space)
    store.upsert(sides[1], {"title": NAMES})
    (folder / "judged.csv").write_text("query,document\n" + "".join(f"{n},{n}\n" for n in NAMES[:30]))
    (folder / "queries.txt").write_text("\n".join(NAMES[20:40]))
    relevance = Relevance.from_pairs([(name, name) for name in NAMES])
    report = evaluate(
        Side(sides[1], sides[1]), Side(sides[0], sides[0]), upgrade, relevance,
        scope=Scope(metrics=["recall_at_1"], directions=[""], own_items="keep"),
    )  # fmt: skip
    save_report(report, folder / "report.json")
    return folder


@pytest.fixture
def project(made, tmp_path):
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


def written(project, text=""):
    """The settings, and a plan of them."""
    path = project / "rollout.yaml"
    path.write_text("store: lancedb:shop\nupgrade: upgrade\nitems: {text: title}\nsample: 4\n" + text)
    return path


def planned(settings):
    write_plan(plan_rollout(settings), settings.parent / "plan.json")
    return settings.parent / "plan.json"


def test_queries_of_a_file_are_asked_both_ways_and_their_quality_is_that_of_the_store(project):
    text = "shadow: {queries: queries.txt, judged: judged.csv, metrics: [recall_at_1], k: 5}\n"
    result = shadow_rollout(written(project, text), page=project / "shadow.html")
    (figures,) = result.figures
    assert (figures.source, figures.queries, len(figures.log.samples)) == ("asked", 40, 40)
    (quality,) = figures.quality
    with closing(open_rollout(project / "rollout.yaml")) as opened:
        asked = opened.encoder().encode(NAMES[:40], modality="text", role="query")
        bridged = opened.store.search(opened.upgrade.to_index_space(Embeddings.of(asked, opened.upgrade.new_space)), 5)
        old = opened.store.search(opened.store.fetch(opened.old, NAMES[:40]), 5)
        assert opened.state is None
    overlap = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(old.ids, bridged.ids, strict=True)])
    assert figures.overlap.value == pytest.approx(overlap)
    assert quality.old.value == 1.0
    assert quality.bridged.value == pytest.approx(np.mean([bridged.ids[i][0] == NAMES[i] for i in range(30)]))
    page = (project / "shadow.html").read_text()
    assert "hits that both find" in page
    assert NAMES[20] not in page
    with pytest.raises(InvalidInput, match=r"queries.txt is not a shadow's page"):
        shadow_rollout(project / "rollout.yaml", page=project / "queries.txt")


def test_apply_stops_at_a_gate_until_the_shadow_meets_it(project):
    settings = written(project, "shadow: {share: 1.0}\ngates: [shadow_queries >= 3, shadow_overlap >= 0.1]\n")
    plan = planned(settings)
    said = read_plan(plan)
    assert [gate.passed for gate in said.gates] == [False, False]
    assert said.following == "embridge apply PLAN --until shadow"
    assert said.steps[3] == "backfilling: encode and write 60 rows, order store"
    with pytest.raises(
        GateRefused, match=r"2 of 2 gate checks failed: shadow_queries >= 3 \(no query was compared yet"
    ):
        apply_plan(plan, until="bridged")
    with closing(open_rollout(settings)) as opened:
        assert opened.state is None
        state = apply_plan(plan, until="shadow").state
        assert (state.phase, state.shadow) == ("shadow", 1.0)
        assert opened.new not in opened.store.spaces()
        models = {side: load(opened.upgrade.provenance.encoders[side]) for side in ("old", "new")}
        gallery = Gallery(opened.store, opened.upgrade, **models, follow_seconds=0)
        assert {gallery.search([name], 3).served for name in NAMES[:4]} == {"old"}
        gallery._shadow.flush()
        assert apply_plan(plan, until="shadow").state == state
        assert apply_plan(plan, until="bridged").state.phase == "bridged"
        bridge = list(entries(opened.store.documents))[-1]
    first = bridge.why["gates"][0]
    assert (first["gate"], first["value"], first["passed"]) == ("shadow_queries >= 3", 4.0, True)
    with pytest.raises(InvalidInput, match="shadow: the rollout is bridged"):
        apply_plan(plan, until="shadow")


def test_gates_on_a_report_are_shown_in_the_plan_and_stop_what_they_forbid(project):
    settings = written(project, "report: report.json\ngates: [retention >= 0.1, recall_at_1 naive >= 2 * new/new]\n")
    plan = planned(settings)
    first, second = read_plan(plan).gates
    assert (first.passed, second.passed) == (True, False)
    assert first.where == "report, search"
    with pytest.raises(GateRefused, match="1 of 2 gate checks failed: recall_at_1 naive >= 2"):
        apply_plan(plan)


def test_a_report_of_other_models_is_no_gate(project, made):
    path = project / "report.json"
    path.write_text(path.read_text().replace('"old": "', '"old": "other '))
    with pytest.raises(SettingsError, match=r"report.json is of other .* as the old model, and the rollout of"):
        plan_rollout(written(project, "report: report.json\ngates: [retention >= 0.1]\n"))


def test_a_plan_for_a_size_that_is_not_here_is_not_applied(project):
    settings = written(project, "price: 0.001\n")
    plan = plan_rollout(settings, assume_rows=10**9, workers=64)
    together = f"the store takes {64 * plan.rows_per_second:,.0f} rows a second"
    assert [row[1].startswith(together) for row in plan.table()[1] if row[0] == "which assumes"] == [False, True, False]
    assert plan.to_dict()["assumes"] == list(plan.assumes)
    assert (plan.rows, plan.missing, plan.cost) == (10**9, 10**9, 10**6)
    assert plan.seconds == pytest.approx(1e9 / plan.rows_per_second / 64)
    assert plan.vector_bytes["at most"] == 4 * 10**9 * (plan.old.dim + plan.new.dim)
    write_plan(plan, project / "plan.json")
    with pytest.raises(InvalidInput, match="this plan is of 1,000,000,000 rows that were assumed"):
        apply_plan(project / "plan.json")
    with pytest.raises(InvalidInput, match="workers is a whole number from 1 on, came 0"):
        plan_rollout(settings, workers=0)


def test_orders_by_cluster_and_by_uncertainty_begin_with_what_is_far(project):
    with closing(open_rollout(written(project, "order: cluster\nclusters: 3\nseed: 2\n"))) as opened:
        order, rows = opened.order(), opened.store.fetch(opened.old, NAMES)
    assert sorted(order) == sorted(NAMES)
    assert order[0] != sorted(NAMES)[0]
    new = Space("guess", "1", rows.space.dim)
    error = Linear(rows.space, Space("log error", "1", 1, "dot"), np.eye(rows.space.dim, 1, dtype=np.float32))
    bridge = Linear(rows.space, new, np.eye(rows.space.dim, dtype=np.float32))
    Upgrade(Identity(new, new), bridge, Provenance("fastfill"), "forward", uncertainty=error).save(project / "unsure")
    with closing(open_rollout(written(project, "order: uncertainty\nuncertainty: unsure\n"))) as opened:
        assert opened.order() == [rows.ids[i] for i in np.argsort(-rows.vectors[:, 0], kind="stable")]
    for text, error, message in (
        ("order: cluster\nclusters: 61\n", SettingsError, "there are 60 rows, and 61 clusters"),
        (
            "order: uncertainty\nuncertainty: upgrade\n",
            InvalidInput,
            r"upgrade \(procrustes\) does not say how uncertain",
        ),
    ):
        with closing(open_rollout(written(project, text))) as opened, pytest.raises(error, match=message):
            opened.order()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("order: uncertainty\n", "order: uncertainty goes by an upgrade"),
        ("gates: [retention >= 0.5]\n", "is on a report; name the one"),
        ("gates: [luck >= 0.5]\n", "there is no metric 'luck'"),
        ("shadow: {metrics: [map]}\n", "shadow.metrics: map needs the whole ranking"),
        ("shadow: {share: 0}\n", "shadow.share"),
        ("shadow: {queries: nowhere.txt}\n", "shadow.queries: .*nowhere.txt does not exist"),
    ],
)
def test_settings_that_do_not_fit_end_in_one_line(project, text, message):
    with pytest.raises(SettingsError, match=message) as refusal:
        open_rollout(written(project, text))
    assert "\n" not in str(refusal.value)


def test_the_commands_say_what_they_do(project, monkeypatch):
    written(project, "gates: [shadow_queries >= 30]\n")
    monkeypatch.chdir(project)

    def run(*words, code=0):
        outcome = CliRunner().invoke(app, list(words))
        assert outcome.exit_code == code, outcome.output
        return outcome.stdout if "--json" in words else " ".join(outcome.output.split())

    assert "no query was compared yet" in run("shadow", "rollout.yaml")
    assert "60 rows" not in run("plan", "rollout.yaml", "--assume-rows", "1e9", "--workers", "64")
    assert "whole number from 1 on" in run("plan", "rollout.yaml", "--assume-rows", "0.5", code=2)
    assert "not met (no query was compared" in run("plan", "rollout.yaml")
    assert "1 of 1 gate checks failed" in run("apply", "plan.json", code=3)
    shown = json.loads(run("shadow", "rollout.yaml", "--queries", "queries.txt", "--json"))
    assert (shown["schema"], shown["shadow"]["asked"]["queries"]) == ("embridge.shadowed/1", 20)
    assert shown["gates"][0]["passed"] is False
    assert "hits that both find" in run("shadow", "rollout.yaml", "--page", "page.html")
    assert "shadow" in run("apply", "plan.json", "--until", "shadow")
    assert "queries of a file" in run("status", "rollout.yaml")
    assert json.loads(run("status", "rollout.yaml", "--json"))["shadow"]["asked"]["queries"] == 20


def test_a_status_that_is_watched_ends_where_the_rollout_is_complete(project):
    plan = planned(written(project))
    waits = []
    looks = watch_rollout(project / "rollout.yaml", wait=waits.append)
    assert next(looks).state is None
    apply_plan(plan, until="0.5")
    assert (next(looks).encoded, waits) == (30, [1.0])
    apply_plan(plan)
    assert [look.state.phase for look in looks] == ["complete"]
