"""An upgrade's folder on the Hugging Face hub: one commit up, one snapshot down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embridge._plain_text import one_line
from embridge.adapters._companions import CARD
from embridge.adapters._upgrade_files import OWN_FILES
from embridge.errors import InvalidInput, ServiceError, require

__all__ = ["fetch_folder", "push_folder"]

_WORDS = {
    "GatedRepoError": "its owner has to let you in: ask on its page, and give a token",
    "RepositoryNotFoundError": "there is no model repository of that name, or the token may not see it",
    "RevisionNotFoundError": "it has no such revision; name a branch, a tag or a commit",
    "LocalEntryNotFoundError": "it is not reached or HF_HUB_OFFLINE is set, and the cache on this machine does not have it",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, so nothing is sent; unset it",
}
_TASK, _DATA = "retrieval", "what the report was judged by"


def push_folder(
    folder: Path, repo: str, *, report: Mapping[str, Any] | None, private: bool | None, token: str | None
) -> str:
    """Commit a folder that `Upgrade.save` wrote, with metadata before its card; files of an earlier upgrade go with it.

    Args:
        folder: The folder; its card is written anew.
        repo: The repository's id; it is made where there is none.
        report: The report, whose figures become the card's ``model-index``.
        private: Whether a new repository is; None for the account's default.
        token: Of the hub; None for the one that is stored on this machine.

    Returns:
        The commit's address.

    Raises:
        InvalidInput: The repository's id or the report cannot be meant.
        ServiceError: The hub refuses or is not reached.
    """
    hub = require("huggingface_hub", extra="hub")
    card = folder / CARD
    card.write_text(_metadata(hub, repo, report) + card.read_text(encoding="utf-8"), encoding="utf-8")
    files = [name for name in OWN_FILES if (folder / name).is_file()]
    with _told_apart(repo):
        api = hub.HfApi(token=token, library_name="embridge")
        api.create_repo(repo, private=private, exist_ok=True)
        left = sorted({*api.list_repo_files(repo)} & {*OWN_FILES} - {*files})
        operations = [hub.CommitOperationAdd(name, folder / name) for name in files]
        operations += [hub.CommitOperationDelete(name) for name in left]
        return str(api.create_commit(repo, operations, commit_message="An upgrade of embridge").commit_url)


def fetch_folder(repo: str, *, revision: str | None, token: str | None) -> Path:
    """The folder of a repository's upgrade, in the hub's own cache on this machine.

    Args:
        repo: The repository's id.
        revision: A branch, tag or commit; None for the newest.
        token: As in `push_folder`.

    Returns:
        The folder.

    Raises:
        InvalidInput: The repository's id cannot be meant.
        ServiceError: The hub refuses or is not reached, and the cache has nothing.
    """
    hub = require("huggingface_hub", extra="hub")
    with _told_apart(repo):
        return Path(hub.snapshot_download(repo, revision=revision, token=token, allow_patterns=list(OWN_FILES)))


@contextmanager
def _told_apart(repo: str) -> Iterator[None]:
    """The hub's errors as ours: it passes on those of the HTTP client that its version happens to use."""
    errors = require("huggingface_hub.errors", extra="hub")
    try:
        yield
    except errors.HFValidationError as error:
        raise InvalidInput(f"expected a repository as OWNER/NAME, came {repo!r}: {one_line(str(error))}") from error
    except Exception as error:
        kind = next((one.__name__ for one in type(error).__mro__ if one.__name__ in _WORDS), type(error).__name__)
        words = _WORDS.get(kind) or one_line(str(error))
        raise ServiceError(f"{repo} on the Hugging Face hub: {kind}: {words}") from error


def _metadata(hub: Any, repo: str, report: Mapping[str, Any] | None) -> str:
    data = hub.ModelCardData(
        library_name="embridge",
        tags=["embridge", "embeddings", "feature-extraction"],
        model_name=repo.rpartition("/")[2],
        eval_results=None if report is None else _results(hub, report),
    )
    return f"---\n{data.to_yaml()}\n---\n\n"


def _results(hub: Any, report: Mapping[str, Any]) -> list[Any]:
    """Each figure of each cell: which model asks which model's vectors stands in the metric's name."""
    try:
        return [
            hub.EvalResult(
                task_type=_TASK,
                dataset_type="judged",
                dataset_name=f"{_DATA}, {figure['direction']}" if figure["direction"] else _DATA,
                metric_type=figure["metric"],
                metric_name=f"{figure['metric']} of {figure['cell']}",
                metric_value=round(float(figure["interval"]["value"]), 6),
            )
            for figure in report["figures"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"the report has no figures as embridge evaluate writes them into report.json ({error!r}); give that file's content"
        ) from error
