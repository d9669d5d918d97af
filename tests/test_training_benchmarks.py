"""The benchmarks of training as they are run, with small sizes, and the tables of docs made of what they write."""

import contextlib
import importlib
import io
import json
import os
import re
import runpy
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from embridge import Upgrade

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
DATA = Path(os.environ.get("EMBRIDGE_DATA") or ROOT.parent / "shared" / "data")
CIFAR = DATA / "cifar100" / "cifar100_jpeg95_mosaics.npz"
FASHION = DATA / "fashion" / "dev12k_images.npz"
METRICS = {"cmc_at_1", "cmc_at_5", "map"}


def needs(path):
    return pytest.mark.skipif(not path.exists(), reason=f"{path} is not there; set EMBRIDGE_DATA")


def run(cache, name, *options):
    """As a command does, but in this process, which has the libraries already."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as stderr:
        patch.chdir(ROOT)
        patch.syspath_prepend(ROOT)
        patch.setattr(sys, "argv", [f"benchmarks.{name}.run", *options])
        patch.setenv("EMBRIDGE_CACHE", str(cache))
        patch.setenv("EMBRIDGE_DATA", str(DATA))
        patch.delitem(sys.modules, f"benchmarks.{name}.run", raising=False)  # which another test may have imported
        runpy.run_module(f"benchmarks.{name}.run", run_name="__main__")
    return stderr.getvalue()


def methods(name):
    return [m["name"] for m in tomllib.loads((BENCHMARKS / name / "settings.toml").read_text())["methods"]]


def write_settings(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "settings.toml").write_text(text)


def copy_settings(name, folder):
    write_settings(folder / name, (BENCHMARKS / name / "settings.toml").read_text())


@pytest.fixture
def tables(monkeypatch):
    """What makes the tables of a benchmark, or ``rendering`` for what they share."""
    monkeypatch.syspath_prepend(ROOT)

    def module(name):
        return importlib.import_module(
            "benchmarks.rendering.training" if name == "rendering" else f"benchmarks.{name}.tables"
        )

    return module


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A run of every method, and the folder that it wrote into."""
    cache = tmp_path_factory.mktemp("cache")
    run(cache, "cifar100_training", "--quick")
    return cache / "cifar100_training" / "quick" / "test"


@needs(CIFAR)
@pytest.mark.slow
def test_every_method_is_trained_and_measured(quick):
    found = {path.stem: json.loads(path.read_text()) for path in quick.glob("*.json")}
    assert found.keys() == {f"{name}-0" for name in methods("cifar100_training")}
    for stem, result in found.items():
        assert result["benchmark"] == "cifar100_training"
        cells = {(r["method"], r["cell"], r["metric"]) for r in result["rows"]}
        name = stem.removesuffix("-0")
        wanted = (("old", "old/old"), (name, "new/old"), (name, "new/new"), ("naive", "naive"))
        assert {(m, cell, metric) for m, cell in wanted for metric in METRICS} <= cells
        assert {(name, "new/old", f"{sign}_flip_rate:cmc_at_1") for sign in ("negative", "positive")} <= cells
        assert {("old", "", "parameters"), (name, "", "parameters")} <= cells
        assert all(r["low"] <= r["value"] <= r["high"] for r in result["rows"])


@needs(CIFAR)
@pytest.mark.slow
def test_the_tables_have_a_line_for_each_method(quick, tables, tmp_path):
    copy_settings("cifar100_training", tmp_path)
    shutil.copytree(quick, tmp_path / "results" / "cifar100_training")
    rendering = tables("rendering")
    for table in (rendering.quality("cifar100_training", tmp_path), rendering.cost("cifar100_training", tmp_path)):
        for label in ("independent", *(f"`{name}`" for name in methods("cifar100_training")[1:])):
            assert len(re.findall(rf"^\| {label} \|", table, re.MULTILINE)) == 1


@needs(CIFAR)
@pytest.mark.slow
def test_settings_are_chosen_by_heads_on_validation_images(tables, tmp_path):
    said = run(tmp_path, "training_choice", "--quick")
    (path,) = tmp_path.rglob("training_choice.json")
    result = json.loads(path.read_text())
    scored = [r["method"] for r in result["rows"] if r["metric"] == "p_1"]
    assert sorted(scored) == sorted(name for name in methods("cifar100_training")[1:] if "," not in name)
    assert said.count("P_1") == len(scored)
    (tmp_path / "results").mkdir()
    shutil.copy(path, tmp_path / "results")
    assert all(f"| `{name}` |" in tables("training_choice").choice(tmp_path) for name in scored)


def test_the_best_of_the_tries_is_the_chosen_one(tables, tmp_path):
    rows = [
        {"method": "oca", "metric": "p_1", "setting": s, "value": v} for s, v in (({}, 0.4), ({"scale": 10.0}, 0.5))
    ]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "training_choice.json").write_text(json.dumps({"rows": rows}))
    assert (
        tables("training_choice").choice(tmp_path).splitlines()[-1] == "| `oca` | scale 10 | 0.500 | defaults (0.400) |"
    )


def test_runs_have_the_settings_that_were_chosen():
    best = {}
    for row in json.loads((BENCHMARKS / "results" / "training_choice.json").read_text())["rows"]:
        if row["metric"] == "p_1" and row["value"] > best.get(row["method"], {"value": 0})["value"]:
            best[row["method"]] = row
    for name in ("cifar100_training", "cifar100_growing", "cifar100_steps", "fashion_training", "head_only"):
        for method in tomllib.loads((BENCHMARKS / name / "settings.toml").read_text())["methods"][1:]:
            if method["name"] == method["make"]:  # others say what they are, such as the defaults
                assert method.get("settings", {}) == best[method["make"]]["setting"], (name, method["name"])


@pytest.mark.parametrize(
    ("second", "answers", "shown"),
    [
        ((-0.01, 0.05), ("yes", "undecided"), "yes; yes 1×, undecided 1×"),
        ((-0.04, 0.05), ("yes", "undecided"), "undecided; yes 1×, undecided 1×"),
        ((-0.09, -0.05), ("yes", "no"), "no; yes 1×, no 1×"),
        ((0.01, 0.02), ("yes", "yes"), "yes"),
    ],
)
def test_seeds_that_differ_are_followed_by_the_answer_of_their_mean(tables, tmp_path, second, answers, shown):
    write_settings(tmp_path / "some", "[[methods]]\nname = 'bct'\n")
    folder = tmp_path / "results" / "some"
    folder.mkdir(parents=True)
    for seed, ((low, high), answer) in enumerate(zip(((0.02, 0.04), second), answers, strict=True)):
        row = {"method": "bct", "seed": seed, "cell": "new/old", "metric": "map", "value": 0.5, "compatible": answer}
        rows = [row | {"difference_low": low, "difference_high": high}, row | {"cell": "new/new"}]
        (folder / f"bct-{seed}.json").write_text(json.dumps({"rows": rows}))
    assert tables("rendering").quality("some", tmp_path).endswith(f"0.500 ± 0.000 ({shown}) |")


def test_each_version_is_shown_on_those_before_it_with_the_answers_of_all_seeds(tables, tmp_path):
    write_settings(tmp_path / "some", "[[methods]]\nname = 'independent'\n[[methods]]\nname = 'oca'\n")
    folder = tmp_path / "results" / "some"
    folder.mkdir(parents=True)

    def row(cell, t, s, value, **more):
        return {"cell": cell, "metric": "cmc_at_1", "setting": {"queries": t, "gallery": s} | more, "value": value}

    for seed, (found, answer) in enumerate(((0.3, "yes"), (0.2, "undecided"))):
        own = [row("new/new", 1, 1, 0.1 + seed / 10), row("new/new", 2, 2, 0.5)]
        crossed = row("new/old", 2, 1, found) | {"compatible": answer}
        told = row("new/old", 2, 1, 0.9, classes="both")
        (folder / f"oca-{seed}.json").write_text(json.dumps({"rows": [*own, crossed, told]}))
    (folder / "independent-0.json").write_text(json.dumps({"rows": own}))
    lines = tables("cifar100_steps").pairs("some", tmp_path).splitlines()
    assert (lines[0], lines[2:]) == ("|  | 2 on 1 |", ["| `oca` | 0.250 / 0.150 (yes 1×, undecided 1×) |"])


def test_a_table_without_results_says_what_to_run(tables, tmp_path):
    write_settings(tmp_path / "some", "[[methods]]\nname = 'bct'\n")
    with pytest.raises(SystemExit, match=r"no results in .*some: make results/some"):
        tables("rendering").cost("some", tmp_path)


@needs(FASHION)
@pytest.mark.slow
def test_product_photos_are_of_types_that_the_old_model_does_not_know(tmp_path):
    said = run(tmp_path, "fashion_training", "--quick", "--only", "bct", "--part", "validation")
    assert said.startswith("bct-0 ")
    (path,) = (tmp_path / "fashion_training" / "quick" / "validation").iterdir()
    assert json.loads(path.read_text())["config"]["part"] == "validation"


@needs(CIFAR)
@pytest.mark.slow
def test_the_old_model_of_a_growing_backbone_is_smaller(tmp_path):
    run(tmp_path, "cifar100_growing", "--quick", "--only", "oca")
    (path,) = (tmp_path / "cifar100_growing" / "quick" / "test").iterdir()
    rows = json.loads(path.read_text())["rows"]
    counted = {r["method"]: r["value"] for r in rows if r["metric"] == "parameters"}
    assert counted["old"] < counted["oca"] / 2


@needs(CIFAR)
@pytest.mark.slow
def test_cross_tests_of_versions_are_told_apart_by_the_class_of_the_query(tables, tmp_path):
    name = "oca, held to all"
    run(tmp_path, "cifar100_steps", "--quick", "--only", name, "--seeds", "1")
    (last,) = tmp_path.glob(f"cifar100_steps/quick/100 classes/{name}-*/upgrade")
    assert Upgrade.load(last).provenance.settings["objective"]["held.dims"] == [64, 128, 192]
    (path,) = (tmp_path / "cifar100_steps" / "quick" / "test").iterdir()
    rows = [r for r in json.loads(path.read_text())["rows"] if r["cell"] == "new/old" and r["metric"] == "cmc_at_1"]
    for t, s in ((2, 1), (4, 2)):
        of = {r["setting"].get("classes", "all"): r["value"] for r in rows if versions_of(r) == (t, s)}
        shares = {"both": 0.25 * s, "the later": 0.25 * (t - s), "neither": 1 - 0.25 * t}
        assert of.keys() == {"all"} | {group for group, share in shares.items() if share}
        assert of["all"] == pytest.approx(sum(of[g] * share for g, share in shares.items() if share))
    copy_settings("cifar100_steps", tmp_path)
    (tmp_path / "results" / "cifar100_steps").mkdir(parents=True)
    shutil.copy(path, tmp_path / "results" / "cifar100_steps")
    made = tables("cifar100_steps").strangers("cifar100_steps", tmp_path).splitlines()
    assert made[0] == "|  | both | the later | neither |"
    assert [line.split(" | ")[0] for line in made[2:]] == ["| the first version itself", f"| `{name}`"]


def versions_of(row):
    return row["setting"]["queries"], row["setting"]["gallery"]


@pytest.mark.slow
def test_the_time_of_an_objective_is_measured_against_training_alone(tmp_path):
    said = run(tmp_path, "training_overhead", "--only", "odpp", "--turns", "1")
    measured = json.loads(said.removeprefix("odpp "))
    assert measured.keys() == {"step_seconds", "refresh_seconds", "step_ratio", "ratio"}
    assert float(measured["refresh_seconds"].split()[0]) > 0
