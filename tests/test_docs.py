"""The documentation is true: its code runs, its settings load, what it names exists, and nothing is left out."""

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import yaml
from fenced_blocks import PAGES, README, ROOT, blocks, label, pages_with, prose, run
from pydantic import BaseModel
from typer.testing import CliRunner

from embridge import errors
from embridge.cli import app
from embridge.methods import make
from embridge.settings import EvaluateSettings, FitSettings, ModelSettings, Settings, load_settings

DOCS = ROOT / "docs"
OWN_MODELS = DOCS / "how-to" / "own-models.md"
LINK = re.compile(r"\]\(([^)\s]+)\)")
REFERENCE = re.compile(r"\]\[(embridge[\w.]*)\]|^::: (embridge[\w.]*)$", re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=label(page), marks=[pytest.mark.slow] if page.stem == "tutorial" else [])
        for page in pages_with("python")
        if page != README  # tests/test_readme.py prepares what the README takes for granted
    ],
)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(run(page)) > 2


@pytest.mark.parametrize("page", pages_with("yaml"), ids=label)
def test_settings_load(page, tmp_path):
    for text in blocks(page, "yaml"):
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        settings = load_settings(path)
        make(settings.fit.method, settings.fit.settings)


def test_every_settings_key_is_explained():
    shown = [yaml.safe_load(text) for text in blocks(OWN_MODELS, "yaml")]
    assert keys_of(Settings) <= {key for document in shown for key in keys_in(document)}
    longest = max(blocks(OWN_MODELS, "yaml"), key=len)
    assert keys_of(Settings) <= set(re.findall(r"^ *(\w+):", longest, re.MULTILINE))


def test_defaults_shown_are_the_defaults(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(max(blocks(OWN_MODELS, "yaml"), key=len))
    shown = load_settings(path)
    assert (shown.old.device, shown.old.batch_size) == (default(ModelSettings, "device", "batch_size"))
    assert (shown.fit.method, shown.fit.seed) == default(FitSettings, "method", "seed")
    assert (shown.evaluate.ks, shown.evaluate.seed) == default(EvaluateSettings, "ks", "seed")
    assert (Path(shown.upgrade.name), Path(shown.report.name)) == default(Settings, "upgrade", "report")
    assert make("xbt", shown.fit.settings) == make("xbt")


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
    assert documented == raised | {0, 130}


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


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_make_targets_and_scripts_exist(page):
    text = page.read_text()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", text, re.MULTILINE)) <= set(targets)
    for script in re.findall(r"python ([\w/]+\.py)", text):
        assert (ROOT / script).is_file(), script


def test_every_benchmark_table_is_shown():
    specification = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    tables = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tables)
    shown = {page: re.findall(r"<!-- table: ([\w-]+) -->", page.read_text()) for page in PAGES}
    assert sorted(shown[DOCS / "benchmarks.md"]) == sorted(tables.TABLES)
    assert sorted(shown[README]) == ["flickr8k", "glyphs"]
    assert {label(page) for page, names in shown.items() if names} == set(tables.FILES)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
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
    for package in ("", ".evaluation", ".methods", ".stores", ".encoders", ".testing", ".demo"):
        module = importlib.import_module(f"embridge{package}")
        for name in module.__all__:
            made = getattr(module, name)
            if isinstance(made, type) or inspect.isfunction(made):
                places = {f"{module.__name__}.{name}", f"{getattr(made, '__module__', '')}.{name}"}
                assert places & documented, f"{name} of {module.__name__} is in no reference page"


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
