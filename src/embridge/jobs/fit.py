"""From a settings file to an upgrade: the work of ``embridge fit``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from embridge.adapters.upgrade import MANIFEST, Upgrade
from embridge.atomic_write import refuse_foreign_folder
from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation import Scope
from embridge.evaluation.measures import measure
from embridge.jobs._finetune import finetuning_of
from embridge.jobs._fit_inputs import FitInputs, read_fit_inputs
from embridge.jobs._judgements import Judgements
from embridge.jobs._model_vectors import caption_vectors, side_of
from embridge.jobs._prompts import warn_of_other_prompts
from embridge.jobs._spread import opened_engine
from embridge.jobs._stored_pairs import STORED, stored_pairs
from embridge.jobs._stored_rows import StoredRows
from embridge.jobs._stored_sides import stored_sides
from embridge.jobs._validation_pairs import encoded_validation_pairs, require_validated
from embridge.jobs.evaluate import JUDGED_CAPTIONS, NAMED_FOR_EVALUATION
from embridge.jobs.fitted import Fitted
from embridge.jobs.models import Models, takes_images
from embridge.methods import Pairs, make
from embridge.methods.candidate_scores import Search
from embridge.methods.choice import JudgedQueries
from embridge.methods.choose import Choose, choose
from embridge.progress import Progress, silent
from embridge.scale import Engine
from embridge.settings import Settings
from embridge.settings.reading import require_files

__all__ = ["Fitted", "fit_upgrade"]

_NAMED_FOR_FIT = (
    "fit.captions",
    "fit.judged",
    "fit.validation_pairs",
    "fit.finetune_pairs",
    "old.captions",
    "new.captions",
)


def fit_upgrade(settings: Settings, *, engine: Engine | None = None, progress: Progress = silent) -> Fitted:
    """Encode the captions with both models (or read their vectors), fit, and write the upgrade's folder.

    Of a store (``old.store``) a sample of rows is fitted on: their vectors as they are, and their items as the new model
    encodes them. Nothing is written there.

    With ``fit.finetune_pairs`` the new model is then finetuned (`XBTFinetune`), on top of the bridge. A run that was stopped
    goes on from what is in the cache: encoded captions, and the last checkpoint. Each model is loaded once, and each file read
    once.

    Args:
        settings: The settings file, read by `load_settings`.
        engine: Whose workers encode the captions; that of the settings where None.
        progress: Hears how far each part of the work is.

    Returns:
        The upgrade that was written, or none where the old model should be kept, with the table of a choice.

    Raises:
        SettingsError: The settings lack what is needed, before any work.
        InvalidInput: The data cannot be used, or the upgrade's folder holds other things.

    Examples:
        >>> from pathlib import Path
        >>> from embridge.settings import load_settings
        >>> from embridge.datasets import glyph_models, glyphs
        >>> _ = Path("captions.txt").write_text("\\n".join(glyphs.caption(c) for c in glyphs.split()["train"][:300]))
        >>> models = "\\n".join(f"{side}: clip:{glyph_models.folder(side)}" for side in ("old", "new"))
        >>> _ = Path("settings.yaml").write_text(models + "\\nfit: {captions: captions.txt, method: procrustes}\\n")
        >>> fitted = fit_upgrade(load_settings("settings.yaml"))
        >>> fitted.upgrade.provenance.method, Path("upgrade/upgrade.json").exists()
        ('procrustes', True)
    """
    refuse_foreign_folder(settings.upgrade, marker=MANIFEST)
    _require_named_files(settings)
    options, cache = settings.fit, settings.fit.cache or settings.upgrade.parent / ".embridge-cache"
    method, finetuning = make(options.method, options.settings), finetuning_of(settings, cache)
    require_validated(settings, method)
    inputs, models = read_fit_inputs(settings, progress=progress), Models(progress)
    if finetuning is not None and inputs.finetune_pairs is not None:
        finetuning.method.split(inputs.finetune_pairs, seed=options.seed)  # too few are refused now
    validated_by = encoded_validation_pairs(settings, inputs.validation_pairs, models)
    judged = (
        _judged_queries(settings, inputs.judged, models) if isinstance(method, Choose) else None
    )  # ids are looked up now
    with opened_engine(engine, settings) as models.engine:
        pairs, stored = _pairs(settings, inputs, cache, models, progress)
    pairs = replace(pairs, judged_by=validated_by)
    choice, score = None, ""
    if isinstance(method, Choose):
        method = replace(method, searches=_searches(method, settings, inputs))
        choice = choose(pairs, method, judged=judged, seed=options.seed, progress=progress)
        upgrade, score = choice.upgrade, _score(settings, method)
    else:
        upgrade = method.fit(pairs, seed=options.seed, progress=progress)
    if upgrade is None:
        return Fitted(None, choice, score, inputs.captions, stored)
    upgrade = _with_origin(upgrade, settings, stored)
    if finetuning is not None and inputs.finetune_pairs is not None:
        new = models.encoder(settings.new)
        upgrade = finetuning.fit(upgrade, inputs.finetune_pairs, new, captions=pairs, progress=progress)
    upgrade = _with_judged_captions(upgrade, inputs)
    upgrade.save(settings.upgrade)
    return Fitted(upgrade, choice, score, inputs.captions, stored)


def _require_named_files(settings: Settings) -> None:
    options = settings.fit
    also_judged = options.judged or options.validation_pairs or options.finetune_pairs
    require_files(settings, *_NAMED_FOR_FIT, *(NAMED_FOR_EVALUATION if also_judged else ()))


def _with_origin(upgrade: Upgrade, settings: Settings, stored: StoredRows | None) -> Upgrade:
    """The upgrade, whose provenance names the models, and says of which stored rows it was made."""
    old = settings.old.encoder or (None if stored is None else stored.encoder)
    names = {side: encoder for side, encoder in (("old", old), ("new", settings.new.encoder)) if encoder}
    figures = dict(upgrade.provenance.figures)
    if stored is not None:
        neighbours = settings.evaluate is not None and settings.evaluate.neighbours is not None
        figures[STORED] = stored.to_dict() | {"tenth_kept_apart": neighbours}
    return replace(upgrade, provenance=replace(upgrade.provenance, encoders=names, figures=figures))


def _with_judged_captions(upgrade: Upgrade, inputs: FitInputs) -> Upgrade:
    """The upgrade, whose provenance says how many of the judged queries it was fitted on, if it was on any."""
    shared, queries = inputs.judged_captions
    if not shared:
        return upgrade
    figures = {**upgrade.provenance.figures, JUDGED_CAPTIONS: [shared, queries]}
    return replace(upgrade, provenance=replace(upgrade.provenance, figures=figures))


def _pairs(
    settings: Settings, inputs: FitInputs, cache: Path, models: Models, progress: Progress
) -> tuple[Pairs, StoredRows | None]:
    if inputs.stored is None:
        return _caption_pairs(settings, inputs, cache, models), None
    return stored_pairs(settings, inputs.stored, cache, models=models, progress=progress)


def _caption_pairs(settings: Settings, inputs: FitInputs, cache: Path, models: Models) -> Pairs:
    """The captions as both models see them."""
    old, new = (caption_vectors(model, inputs.texts, cache, models=models) for model in (settings.old, settings.new))
    warn_of_other_prompts(settings, old=old, new=new)
    weights = None
    if settings.fit.weigh_repeats:
        if inputs.captions is None or len(inputs.captions) != len(old):
            raise SettingsError("fit.weigh_repeats counts the lines of fit.captions; name that file")
        weights = np.array(list(inputs.captions.counts.values()), np.float64)
    try:
        return Pairs(new, old, weights)
    except InvalidInput as error:
        files = [str(model.captions or settings.fit.captions) for model in (settings.new, settings.old)]
        raise InvalidInput(f"{' and '.join(files)}: {error}") from error


def _score(settings: Settings, method: Choose) -> str:
    """What `choose` compares by, in words."""
    if settings.fit.judged is not None:
        return f"{measure(settings.fit.metrics[-1]).label} of fit.judged, new queries on the old gallery"
    moved = {
        "t2i": "items without the mean of texts, as images are",
        "i2t": "queries moved as images lie",
    }
    ways = "; ".join(moved[search] for search in method.searches if search in moved)
    return "neighbour agreement: of ten neighbours by the new model, how many the bridge finds" + (
        f" ({ways})" * bool(ways)
    )


def _searches(method: Choose, settings: Settings, inputs: FitInputs) -> tuple[Search, ...]:
    """What will be searched by what: as the settings say, or by what encoders take and what is judged."""
    if method.cross_modal or inputs.stored is not None:
        return method.searches
    if takes_images(settings.new):
        return "t2i", "i2t"
    return ("t2i",) if inputs.of_images or takes_images(settings.old) else ("alike",)


def _judged_queries(settings: Settings, judged: Judgements | None, models: Models) -> JudgedQueries | None:
    """What to choose by, as both models see it."""
    if judged is None:
        return None
    options = settings.fit
    if settings.old.store is not None:
        sides = stored_sides(settings, judged, models, seed=options.seed, progress=models.progress)
        old, new = sides.old, sides.new
    else:
        old, new = (side_of(model, judged, models) for model in (settings.old, settings.new))
    assert judged.relevance is not None
    scope = Scope(metrics=options.metrics, directions=judged.directions, unjudged="skip", seed=options.seed)
    return JudgedQueries(old, new, judged.relevance, scope)
