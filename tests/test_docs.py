"""The documentation is true: its code runs, its settings load, what it names exists, and nothing is left out."""

import dataclasses
import importlib
import inspect
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import time
import tomllib
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import pytest
import yaml
from fenced_blocks import PAGES, README, ROOT, all_blocks, blocks, label, pages_with, prose, run
from pydantic import BaseModel
from sentences import mean_length, sentences
from served import listening
from typer.testing import CliRunner

from embridge import errors, evaluation
from embridge.adapters.upgrade import fingerprint
from embridge.cli import app
from embridge.cli._endings import EXIT_CODES
from embridge.datasets import glyphs
from embridge.evaluation import MEASURES, MORE_CELLS, SETTINGS, gates, load_summary
from embridge.evaluation.measures import FULL
from embridge.evaluation.report import BACKFILLED, OLD, UPGRADED
from embridge.evaluation.verdict import Decision
from embridge.methods import configured, make
from embridge.rollout.shadow_log import read_log
from embridge.serve.app import create_app
from embridge.serve.opened import open_served
from embridge.settings import (
    EvaluateSettings,
    FitSettings,
    ItemsSettings,
    ModelSettings,
    Settings,
    SpaceSettings,
    StoredVectors,
    TrainingSettings,
    load_settings,
)
from embridge.settings.engine import EngineSection
from embridge.settings.reading import read_settings
from embridge.settings.rollout import RolloutSettings, ShadowSettings
from embridge.settings.serve import LimitSettings, ServeSettings, load_serve_settings
from embridge.settings.training import BackboneSettings, DataSettings, OldSettings
from embridge.stores import STORES, open_store
from embridge.training.compatible.trainer import CompatibleTraining
from embridge.training.objectives import OBJECTIVES, objective_settings

PACKAGES = ("evaluation", "methods", "query", "rollout", "export", "stores", "encoders", "testing", "jobs.demo")
DOCS = ROOT / "docs"
SETTINGS_PAGE = DOCS / "settings.md"
TRAINING_PAGE = DOCS / "training-settings.md"
ROLLOUT, ROLLOUT_PAGE = DOCS / "how-to" / "rollout.md", DOCS / "rollout-settings.md"
SERVE, LANGCHAIN = DOCS / "how-to" / "serve.md", DOCS / "how-to" / "langchain.md"
SHADOW = DOCS / "how-to" / "shadow.md"
OWN_MODELS = DOCS / "how-to" / "own-models.md"
GATES = DOCS / "how-to" / "gates.md"
REPORTS = DOCS / "how-to" / "reports.md"
XBT = DOCS / "how-to" / "xbt.md"
TRAIN = DOCS / "how-to" / "train.md"
FROM_STORE = DOCS / "how-to" / "from-store.md"
POSTGRES = DOCS / "how-to" / "stores" / "postgres.md"
ROLLOUT_POSTGRES = DOCS / "how-to" / "rollout-postgres.md"
ARCHITECTURE = DOCS / "explanation" / "architecture.md"
EVALUATION = DOCS / "explanation" / "evaluation.md"
SLOW = ("tutorial", "lancedb", "query-time")
SHOWN_ADDRESS = "http://127.0.0.1:8000"
LINK = re.compile(r"\]\(([^)\s]+)\)")
REFERENCE = re.compile(r"\]\[(embridge[\w.]*)\]|^::: (embridge[\w.]*)$", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=label(page), marks=[pytest.mark.slow] if page.stem in SLOW else [])
        for page in pages_with("python")
        if page
        not in (
            README,  # tests/test_readme.py prepares what it takes for granted
            REPORTS,  # run once for the tests below
            XBT,
            TRAIN,
            ROLLOUT,
            SHADOW,
            SERVE,
            LANGCHAIN,
            FROM_STORE,
            POSTGRES,
            ROLLOUT_POSTGRES,
        )
    ],
)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page.stem == "tutorial":  # how to learn from names is shown as well by a few of them
        parts = glyphs.split()
        monkeypatch.setattr(glyphs, "split", lambda: parts | {"train": parts["train"][::16]})
    assert len(run(page)) > 2


@pytest.mark.slow
def test_the_page_about_postgresql_runs(postgres_server, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", postgres_server.url(postgres_server.database()))
    names = run(POSTGRES)
    assert names["store"].spaces() == [names["old"], names["new"]]
    names["store"].close()


@pytest.mark.slow
def test_the_page_about_a_live_table_runs_whole(postgres_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", postgres_server.url(postgres_server.database()))
    names, commands = run_whole(ROLLOUT_POSTGRES)
    assert commands == 6
    assert names["store"].count(names["new"].space) == len(names["rows"]) == 120
    names["store"].close()
    names["shop"].close()


def run_whole(page):
    """Code, settings and commands in the order of the page, as its reader would run them; what is defined, how many ran."""
    names, commands = {"__name__": "__page__"}, 0
    for language, text in all_blocks(page):
        if language == "python":
            exec(compile(text, label(page), "exec"), names)
        elif language == "yaml":
            Path(text.partition("\n")[0].removeprefix("# ").replace(":", "")[:40]).write_text(text)
        else:
            for line in text.splitlines():
                done = CliRunner().invoke(app, shlex.split(line)[1:])
                assert done.exit_code == 0, done.stderr
                commands += 1
    return names, commands


@pytest.mark.slow
def test_the_page_about_xbt_runs_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, commands = run_whole(XBT)
    assert commands == 6
    assert names["upgrade"].provenance.figures["best_step"] > 0
    assert names["upgrade"].lora == Path("finetuned/lora")


@pytest.mark.slow
def test_the_page_about_one_url_runs_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, commands = run_whole(FROM_STORE)
    assert commands == 6
    assert "7" in names["hits"].ids[0]
    cells = load_summary("report.json").headline()["cells"][""]
    assert cells["new/old"]["recall_at_10"] > 2 * cells["naive"]["recall_at_10"]
    assert open_store("copy").count(names["upgrade"].old_space) == 1_500


@pytest.mark.slow
def test_the_page_about_training_runs_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, commands = run_whole(TRAIN)
    assert commands == 4
    cells = load_summary("report.json").headline()["cells"][""]
    assert cells["new/old"]["recall_at_1"] > 0.4  # a fifth by chance
    assert names["upgrade"].provenance.method == "oca"
    assert [space.dim for space in names["chain"].spaces] == [16, 24, 32]
    assert names["matrix"][2, 0] > 0.25  # over two versions, of which the first knew three classes


@pytest.mark.slow
def test_the_page_about_a_live_upgrade_runs_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, commands = run_whole(ROLLOUT)
    assert commands == 7
    assert names["gallery"].state(fresh=True).old_dropped


@pytest.mark.slow
def test_the_page_about_a_shadow_runs_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, commands = run_whole(SHADOW)
    assert commands == 4
    assert names["gallery"].state(fresh=True).phase == "bridged"
    names["gallery"]._shadow.flush()
    log = read_log(names["store"].documents, "sampled", upgrade_id=fingerprint("upgrade"))
    assert log.compared + log.dropped == 60
    assert "60" in Path("shadow.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("page", [SERVE, LANGCHAIN], ids=label)
def test_the_pages_about_serving_run_whole(page, tmp_path, monkeypatch):
    """The command that serves runs in a thread, on a free port in the place of the one that is shown."""
    monkeypatch.chdir(tmp_path)
    names, answers, address = {"__name__": "__page__"}, [], SHOWN_ADDRESS
    with ExitStack() as stack:
        for language, shown in all_blocks(page):
            text = shown.replace(SHOWN_ADDRESS, address)
            if language == "python":
                exec(compile(text, label(page), "exec"), names)
            elif text.startswith("embridge serve"):
                served = create_app(open_served(load_serve_settings(text.split()[2])))
                address = stack.enter_context(listening(served))
            else:
                answers.append(subprocess.run(["bash", "-c", text], capture_output=True, check=True).stdout)
    assert address != SHOWN_ADDRESS
    assert names["upgrade"].old_space == names["old"].space
    assert all(len(json.loads(answer)["data"]) == 1 for answer in answers)
    if page == SERVE:
        names["store"].close()


def test_every_error_of_a_server_is_listed():
    cells = re.findall(r"^\| \d+.*? \|([^|]*)\|", section(SERVE, "Errors"), re.MULTILINE)
    sources = "".join(file.read_text() for file in sorted((ROOT / "src" / "embridge" / "serve").rglob("*.py")))
    raised = re.findall(r'code(?:: str)?\s?=\s?"(\w+)"|\d{3}, "(\w+)"\)', sources)
    assert set(re.findall(r"`(\w+)`", "".join(cells))) == {first or second for first, second in raised}


def test_every_settings_key_of_serving_is_explained():
    check_tables(DOCS / "serve-settings.md", {"The file": ServeSettings, "Limits": LimitSettings})


def test_every_settings_key_of_a_rollout_is_explained():
    check_tables(ROLLOUT_PAGE, {"The file": RolloutSettings, "shadow": ShadowSettings, "engine": EngineSection})


@pytest.mark.parametrize("page", pages_with("yaml"), ids=label)
def test_settings_load(page, tmp_path):
    for text in blocks(page, "yaml"):
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        if page in (TRAIN, TRAINING_PAGE):
            for name in ("old", "new", "alone"):
                (tmp_path / "models" / name).mkdir(parents=True, exist_ok=True)
        if "\nobjective:" in text:
            settings = read_settings(path, TrainingSettings)
            objective_settings(settings.objective.name, settings.objective.settings)
            configured("training", CompatibleTraining, {k: v for k, v in settings.training.items() if k != "augment"})
            continue
        settings = load_settings(path)
        make(settings.fit.method, settings.fit.settings)


def test_every_settings_key_is_explained():
    shown = [
        yaml.safe_load(text)
        for page in pages_with("yaml")
        if page not in (TRAIN, TRAINING_PAGE)
        for text in blocks(page, "yaml")
    ]
    assert keys_of(Settings) <= {key for document in shown for key in keys_in(document)}
    whole = max(blocks(SETTINGS_PAGE, "yaml"), key=len)
    assert keys_of(Settings) <= set(re.findall(r"(?:^ *(?:# )?|[{,] ?)(\w+):", whole, re.MULTILINE))
    sections = {"The file": Settings, "A model": ModelSettings, "A space": SpaceSettings, "Items": ItemsSettings}
    sections["An old model in a store"] = StoredVectors
    check_tables(SETTINGS_PAGE, sections | {"fit": FitSettings, "evaluate": EvaluateSettings, "engine": EngineSection})


def check_tables(page, sections):
    """The table under each heading has every key of a settings model, with its default."""
    for heading, model in sections.items():
        rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\|", section(page, heading), re.MULTILINE)
        assert {key for key, _ in rows} == set(model.model_fields), heading
        for key, default_shown in rows:
            assert re.findall(r"`([^`]+)`", default_shown) == words_of(model.model_fields[key].default), key


def words_of(default):
    """How a page writes a default: each part as YAML has it; nothing for none, an empty one or settings of their own."""
    parts = default if isinstance(default, tuple) else (default,)
    scalars = [part for part in parts if isinstance(part, str | int | float | Path) and part != ""]
    return [str(part).lower() if isinstance(part, bool) else str(part) for part in scalars]


def test_every_settings_key_of_a_training_is_explained():
    whole = max(blocks(TRAINING_PAGE, "yaml"), key=len)
    keys = set(re.findall(r"^ *(?:# )?(\w+):", whole, re.MULTILINE))
    assert keys_of(TrainingSettings) - keys_of(SpaceSettings) <= keys
    sections = {"The file": TrainingSettings, "data": DataSettings, "An old model": OldSettings}
    check_tables(TRAINING_PAGE, sections | {"The objective and the backbone": BackboneSettings})
    rows = re.findall(r"^\| (`.*?) \|", section(TRAIN, "Which objective"), re.MULTILINE)
    assert set(OBJECTIVES) == {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}


def test_defaults_shown_are_the_defaults(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(max(blocks(SETTINGS_PAGE, "yaml"), key=len))
    shown = load_settings(path)
    assert (shown.old.device, shown.old.batch_size) == (default(ModelSettings, "device", "batch_size"))
    assert (shown.fit.method, shown.fit.seed) == default(FitSettings, "method", "seed")
    scalar = ("metrics", "cascade_items", "curve", "precisions", "unjudged", "seed")
    assert tuple(getattr(shown.evaluate, name) for name in scalar) == default(EvaluateSettings, *scalar)
    assert shown.evaluate.cells == tuple(MORE_CELLS)
    assert (Path(shown.upgrade.name), Path(shown.report.name)) == default(Settings, "upgrade", "report")
    assert make("choose", shown.fit.settings) == make("choose")


@pytest.mark.slow
def test_every_command_and_option_is_documented():
    page = (DOCS / "cli.md").read_text()
    sections = dict(re.findall(r"^## (embridge[ \w-]*)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    commands = re.findall(r"^  (\w+) ", help_of().partition("Commands:")[2], re.MULTILINE)
    assert len(commands) >= 5
    assert set(sections) == {"embridge", *(f"embridge {name}" for name in commands)}
    for name, section in sections.items():
        documented = {
            option for row in re.findall(r"^\| `(-[^`]*)`", section, re.MULTILINE) for option in row.split()[:1]
        }
        shown = set(re.findall(r"^  (--?[\w-]+)", help_of(*name.split()[1:]), re.MULTILINE))
        assert documented | {"--help"} == shown


def test_every_exit_code_is_documented():
    table = (DOCS / "cli.md").read_text().partition("## Exit codes")[2]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    raised = {getattr(errors, name).exit_code for name in errors.__all__ if name != "require"}
    assert documented == raised | {0} | set(EXIT_CODES.values())


def test_every_metric_is_explained():
    assert first_column(EVALUATION, "Metrics") == {f"{kind}_at_k" for kind in MEASURES} | {FULL}


def test_every_cell_is_explained():
    always, drawn = {OLD, UPGRADED, BACKFILLED, "naive"}, {"NAME/old", "mixed@FRACTION/ORDER"}
    assert first_column(EVALUATION, "Cells") == always | drawn | set(MORE_CELLS)


def test_every_decision_is_explained():
    assert first_column(EVALUATION, "The verdict") == set(get_args(Decision))
    said = " ".join(section(GATES, "In a script").split())
    assert set(re.findall(r"`([a-z ]+)`", said)) >= set(get_args(Decision))


def test_every_landmark_setting_and_rule_for_unjudged_queries_is_explained():
    assert first_column(EVALUATION, "Landmarks and verification") == set(SETTINGS)
    rules = get_args(EvaluateSettings.model_fields["unjudged"].annotation)
    assert first_column(EVALUATION, "Queries with nothing relevant") == set(rules)


def test_every_form_of_a_gate_is_shown():
    shown = [gates._GATE.fullmatch(text).groupdict() for text in first_column(GATES, "Gates")]
    for part in gates._GATE.groupindex:
        assert any(gate[part] for gate in shown), part
    assert {gate["comparison"] for gate in shown} == set(gates._COMPARISONS)
    assert {gate["metric"] for gate in shown} >= set(gates.FLIP_RATES)
    for gate in first_column(GATES, "Gates"):
        gates.parse_gate(gate)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The folder in which the page about reports ran, and what its code defined."""
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names = run(REPORTS)
    return folder, names


@pytest.mark.slow
def test_the_commands_about_reports_run(reports, monkeypatch):
    monkeypatch.chdir(reports[0])
    commands = [shlex.split(line) for line in "".join(blocks(REPORTS, "bash")).splitlines()]
    assert len(commands) >= 6
    assert len(reports[1]) > 2
    for command in commands:
        done = CliRunner().invoke(app, command[1:])
        assert (command[0], done.exit_code) == ("embridge", 0), done.output
        assert len(done.stdout.splitlines()) > 10


@pytest.mark.slow
def test_every_column_of_the_values_is_explained(reports):
    held = {re.sub(r"^slice\..*", "slice.COLUMN", name) for name in reports[1]["rows"].columns}
    assert first_column(REPORTS, "Every query, with pandas or pyarrow") == held


def test_every_written_file_is_named():
    assert first_column(OWN_MODELS, "What evaluate writes") == {
        "report.json", "report.parquet", "report.html", "upgrade/report.json", "upgrade/README.md",
    }  # fmt: skip


@pytest.mark.slow
def test_every_key_of_the_evaluation_is_documented(reports):
    table = section(DOCS / "cli.md", "What evaluate prints")
    documented = set(re.findall(r"^\| `(\w+)", table, re.MULTILINE))
    assert documented == {"schema", "report", "page"} | set(reports[1]["summary"].headline())


def test_every_schema_is_documented():
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    printed = {name for name in re.findall(r'"(embridge\.\w+/\d+)"', source) if not name.startswith("embridge.upgrade")}
    assert printed == set(re.findall(r"`(embridge\.\w+/\d+)`", (DOCS / "cli.md").read_text()))


def test_every_module_of_the_evaluation_is_in_the_reference():
    page = (DOCS / "reference" / "evaluation.md").read_text()
    named = set(re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE))
    modules = {module.name for module in pkgutil.iter_modules(evaluation.__path__) if module.name[0] != "_"}
    assert {f"embridge.evaluation.{name}" for name in modules - {"render"}} <= named


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=label)
def test_links_lead_somewhere(page):
    for target in LINK.findall(prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in {slug(h) for h in re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("page", [p for p in PAGES if REFERENCE.search(p.read_text())], ids=label)
def test_named_objects_exist(page):
    for first, second in REFERENCE.findall(page.read_text()):
        assert resolve(first or second) is not None


def test_the_page_on_architecture_is_true():
    """What it names exists, and the picture of the layers has those that import-linter holds."""
    names = re.findall(r"`(embridge\.[\w.]+)`", ARCHITECTURE.read_text())
    assert len(names) > 12
    assert all(resolve(name) is not None for name in names)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("embridge.", "") for layer in contracts[0]["layers"]]
    picture = (DOCS / "images" / "layers.svg").read_text()
    assert re.findall(r'font-size="12" font-weight="600">([^<]+)<', picture) == layers
    rooms = set(
        re.findall(r'font-size="11" font-weight="600">([^<]+)<', (DOCS / "images" / "call-paths.svg").read_text())
    )
    assert all(importlib.import_module(f"embridge.{room}") for room in rooms)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=label)
def test_make_targets_and_scripts_exist(page):
    text = page.read_text()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets += [f"results/{path.parent.name}" for path in (ROOT / "benchmarks").glob("*/run.py")]
    assert set(re.findall(r"(?:`|^)make ([a-z][\w/-]*)", text, re.MULTILINE)) <= set(targets)
    scripts = re.findall(r"python ([\w/]+\.py)", text)
    scripts += [f"{name.replace('.', '/')}.py" for name in re.findall(r"python -m (benchmarks[\w.]+)", text)]
    for script in scripts:
        assert (ROOT / script).is_file(), script


def test_every_benchmark_table_is_shown(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    tables = importlib.import_module("benchmarks.tables")
    own = ROOT / "benchmarks" / "README.md"
    marks = {page: re.findall(r"<!-- table: ([\w-]+) -->", page.read_text()) for page in PAGES}
    shown = [name for names in marks.values() for name in names]
    assert sorted(shown) == sorted(tables.tables())  # each once
    assert sorted(marks[README]) == ["flickr8k", "glyphs", "readme-first", "training-short"]
    assert sorted(tables.pages()) == sorted([*PAGES, own])
    assert all(len(tables.MARK.findall(page.read_text())) == len(names) for page, names in marks.items())


@pytest.mark.slow
def test_every_plot_shows_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    plots = importlib.import_module("benchmarks.rendering.plots")
    for name, draw in plots.PLOTS.items():
        assert (DOCS / "images" / name).read_text() == draw(), "run make tables"
        assert any(f"images/{name})" in page.read_text() for page in PAGES)
    points = re.findall(r'cx="([\d.]+)" cy="95" r="5"', plots.PLOTS["gain.svg"]())  # of the first search
    rows = json.loads((ROOT / "benchmarks" / "results" / "flickr8k.json").read_text())["rows"]
    for method, x in zip(("old", "xbt-stage1", "independent"), points, strict=True):
        found = [
            r["value"] for r in rows if (r["method"], r["metric"], r["direction"]) == (method, "recall_at_10", "t2i")
        ]
        assert float(x) == pytest.approx(14 + 332 * sum(found) / len(found), abs=0.1)


@pytest.mark.parametrize("picture", sorted((DOCS / "images").glob("*.svg")), ids=lambda picture: picture.stem)
def test_pictures_can_be_read_on_a_telephone_by_day_and_by_night(picture):
    text = picture.read_text()
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups())
    assert width <= 390
    assert min(map(float, re.findall(r'font-size="([\d.]+)"', text))) >= 11
    assert (
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#ffffff"/>' in text
    )  # dark letters, whatever the page
    assert "<title" in text
    assert len(text) < 12_000
    assert not re.findall(r"(?:href|src|url)=?[\"'(](?!#)", text.replace("url(#", "")), "loads nothing"


def test_every_picture_is_shown_and_described():
    shown = {}
    for page in PAGES:
        for description, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
            shown[(page.parent / target).resolve()] = description
    assert set(shown) == set((DOCS / "images").iterdir())
    assert all(len(description.split()) >= 5 for description in shown.values())


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "reference"], ids=label)
def test_sentences_are_short(page):
    """Eighteen words on average, and none that has to be read twice."""
    lengths = {sentence: len(sentence.split()) for sentence in sentences(page.read_text())}
    assert mean_length(page.read_text()) <= 18
    assert [sentence for sentence, length in lengths.items() if length > 40] == []


def test_every_page_can_be_reached_from_the_index_and_is_described_there():
    index = DOCS / "index.md"
    linked = {}
    for line in index.read_text().splitlines():
        for target in LINK.findall(line):
            if not target.startswith("https://"):
                linked[(index.parent / target.partition("#")[0]).resolve()] = line
    pages = set(DOCS.rglob("*.md")) - {index}
    assert pages <= set(linked)
    assert all(len(linked[page].split()) >= 6 for page in pages)  # what it answers, not its name alone
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert listed == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built here; `make check`, which names its place, does not build it again."""
    folder, begun = ROOT / (os.environ.get("EMBRIDGE_SITE") or tmp_path_factory.mktemp("site")), time.time()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = folder.with_suffix(".built")
    built.touch()
    os.utime(built, (begun, begun))  # what is written meanwhile is newer
    return folder


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES) - 1
    for page in pages:
        text = page.read_text()
        assert not re.findall(r"<(?:script|img|iframe)[^>]*src=[\"']?(?:https?:)?//[^>]*>", text)
        links = re.findall(r"<link[^>]*href=[\"']?(?:https?:)?//[^>]*>", text)
        assert not [link for link in links if "canonical" not in link]


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site):
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    documented = {line.split()[0] for line in zlib.decompress(inventory).decode().splitlines()}
    packages = ("", *map(".{}".format, PACKAGES))
    for package in packages:
        module = importlib.import_module(f"embridge{package}")
        for name in module.__all__:
            made = getattr(module, name)
            if isinstance(made, type) or inspect.isfunction(made):
                places = {f"{module.__name__}.{name}", f"{getattr(made, '__module__', '')}.{name}"}
                assert places & documented, f"{name} of {module.__name__} is in no reference page"


def test_what_each_store_can_do_is_what_its_record_says():
    lines = section(DOCS / "how-to" / "stores.md", "What each can do").splitlines()
    header, _, *rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    assert header[2:] == list(STORES)
    words = {"True": "yes", "False": "no"}
    for place, record in enumerate(STORES.values(), 2):
        shown = {row[0]: row[place] for row in rows}
        values = {name: str(value) for name, value in dataclasses.asdict(record.capabilities).items()}
        assert shown == {name: words.get(value, value) for name, value in values.items()}
    extras = set(
        re.findall(r"\| `(\w+)` \|$", section(DOCS / "how-to" / "stores.md", "Use a vector store"), re.MULTILINE)
    )
    assert extras == {record.extra for record in STORES.values() if record.extra}


def section(page, heading):
    """The text under a heading, up to the next of its rank or above."""
    found = re.search(
        rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", page.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, heading
    return found[2]


def first_column(page, heading):
    """The code in the first cells of the tables under a heading."""
    return set(re.findall(r"^\| `([^`]+)` \|", section(page, heading), re.MULTILINE))


def keys_of(model):
    """The keys of a settings model and of the models in it."""
    found = set(model.model_fields)
    for field in model.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= keys_of(part)
    return found


def keys_in(document):
    if not isinstance(document, dict):
        return set()
    return set(document) | {key for value in document.values() for key in keys_in(value)}


def default(model, *names):
    return tuple(model.model_fields[name].default for name in names)


def help_of(*command):
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0
    return shown.output


def slug(heading):
    return re.sub(r"[^\w-]+", "-", heading.lower()).strip("-")


def resolve(path):
    """The object of a dotted name: the longest module in it, then attributes."""
    module, _, name = path.rpartition(".")
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), name)
