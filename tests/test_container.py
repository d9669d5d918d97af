"""The container's files, as far as they can be tried without a daemon that builds them."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from served import listening, opened
from typer.testing import CliRunner

from embridge.cli import app
from embridge.serve._metrics import Metrics
from embridge.serve.app import create_app

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
STEPS = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text()).splitlines()


def step(word):
    """What follows the last such word."""
    return [line.partition(" ")[2] for line in map(str.strip, STEPS) if line.startswith(f"{word} ")][-1]


def test_the_file_passes_its_linter():
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_copied_and_installed_is_there():
    copied = [
        name for line in STEPS if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    ]
    assert copied == ["pyproject.toml", "constraints.txt", "README.md", "LICENSE", "src"]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "**"
    assert all((ROOT / name).exists() and f"!{name}" in ignored for name in copied)
    extras = re.search(r'"\.\[([\w,-]+)\]"', "\n".join(STEPS)).group(1).split(",")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) <= set(declared)
    assert "serve" in extras


def test_it_runs_as_nobody_in_particular():
    assert step("USER") == "10001"
    assert "--uid 10001" in "\n".join(STEPS)


def test_its_command_is_one_of_ours():
    name, *arguments = json.loads(step("CMD"))
    assert json.loads(step("ENTRYPOINT")) == ["embridge"]
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout
    assert all(option in shown for option in arguments if option.startswith("--"))


@pytest.mark.slow
def test_its_health_check_asks_a_server_that_runs():
    command = json.loads(step("HEALTHCHECK").partition("CMD ")[2])
    with listening(create_app(opened())) as url:
        there = command[-1].replace("http://127.0.0.1:8000", url)
        assert subprocess.run([sys.executable, "-c", there], check=False).returncode == 0
    gone = subprocess.run([sys.executable, "-c", there], check=False, capture_output=True)
    assert gone.returncode != 0


def test_the_services_are_whole():
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    assert services["database"]["image"].startswith("pgvector/pgvector:")
    ours = services["embridge"]
    assert (ROOT / "docker" / ours["build"]["context"] / ours["build"]["dockerfile"]).resolve() == DOCKERFILE
    assert ours["depends_on"]["database"]["condition"] == "service_healthy"
    assert ours["read_only"] is True
    passwords = [services["database"]["environment"]["POSTGRES_PASSWORD"], ours["environment"]["PGPASSWORD"]]
    assert all(word.startswith("${POSTGRES_PASSWORD:?") for word in passwords)  # none is written down
    assert shlex.split(services["database"]["healthcheck"]["test"][1])[0] == "pg_isready"


def test_alerts_go_by_metrics_that_there_are():
    rules = yaml.safe_load((ROOT / "docker" / "alerts.yaml").read_text())["groups"][0]["rules"]
    page = (ROOT / "docs" / "how-to" / "operate.md").read_text()
    given = Metrics().text()[0].decode()
    kinds = re.findall(r"^# TYPE (\w+) (\w+)", given, re.MULTILINE)
    names = {f"{name}_bucket" if kind == "histogram" else name for name, kind in kinds}
    for rule in rules:
        assert set(re.findall(r"\b(?:embridge|gen_ai)_\w+", rule["expr"])) <= names
        assert f"`{rule['alert']}`" in page
    assert {name for name, _ in kinds if not name.endswith("_created")} == set(
        re.findall(r"`((?:embridge|gen_ai)_\w+)`", page)
    )
