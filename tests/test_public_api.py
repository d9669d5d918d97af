"""What is public: listed here, in ``__all__`` and in the reference, documented in one style, and nothing else."""

import ast
import dataclasses
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import typing
from pathlib import Path
from types import FunctionType

import pytest

import embridge

ROOT = Path(__file__).parents[1]
MODULES = ["embridge", *(m.name for m in pkgutil.walk_packages(embridge.__path__, "embridge."))]
MODULES = [name for name in MODULES if not name.endswith("__main__")]
REFERENCE = "\n".join(page.read_text() for page in sorted((ROOT / "docs" / "reference").glob("*.md")))

TOP = [
    "ArtefactError",
    "Cascade",
    "CompatibleTraining",
    "Condition",
    "Embeddings",
    "EmbridgeError",
    "Encoder",
    "Fusion",
    "GateRefused",
    "HalfEmbeddings",
    "Hits",
    "InvalidInput",
    "Method",
    "MissingExtra",
    "MixedSearch",
    "Pairs",
    "Progress",
    "Provenance",
    "Ranking",
    "Relevance",
    "Report",
    "Scope",
    "ServiceError",
    "SettingsError",
    "Side",
    "Space",
    "SpaceMismatch",
    "Store",
    "StoreError",
    "Summary",
    "Upgrade",
    "WrongDirection",
    "XBTFinetune",
    "__version__",
    "concatenate",
    "evaluate",
    "evaluate_upgrade",
    "export_upgrade",
    "fit_upgrade",
    "inspect_path",
    "load_encoder",
    "load_report",
    "load_settings",
    "load_training_settings",
    "make_method",
    "make_objective",
    "open_store",
    "read_vectors",
    "rerank",
    "run_demo",
    "save_report",
    "search",
    "search_store",
    "summarise",
    "top_k",
    "train_model",
    "write_vectors",
]


PUBLIC = {
    "embridge.atomic_write": "atomic_file atomic_folder atomic_pair descriptions is_leftover locked refuse_foreign_file "
    "refuse_foreign_folder require_file temporary_folder whole_folder",
    "embridge.shapes": "Bool Float16 Float32 Float64 Int32 Int64 UInt8",
    "embridge.adapters.base": "Adapter",
    "embridge.adapters.chain": "Chain UPGRADE",
    "embridge.adapters.composed": "Composed KINDS adapter_from_parts adapter_to_config",
    "embridge.adapters.linear": "Identity Linear",
    "embridge.adapters.lora_folder": (
        "LORA_CONFIG LORA_FILES LORA_WEIGHTS check_lora copy_lora lora_hashes space_with_lora"
    ),
    "embridge.adapters.mlp": "Layer MLP",
    "embridge.adapters.prefix": "Prefix",
    "embridge.adapters.upgrade": "Upgrade",
    "embridge.backbones": "BACKBONES BackboneRecord default_backbone make_backbone",
    "embridge.backbones.base": "Backbone OwnBackbone drawn_from",
    "embridge.backbones.embedding": "AsGiven BasisChange Embedding UnitLength unit_rows",
    "embridge.backbones.pixels": "Pixels",
    "embridge.backbones.record": "BackboneRecord Takes",
    "embridge.backbones.resnet": "SmallResNet",
    "embridge.backbones.saved": "CONFIG TrainedModel refuse_foreign_model space_of_folder",
    "embridge.backbones.vectors": "VectorHead",
    "embridge.backbones.vision": "VisionBackbone",
    "embridge.datasets.captions": "Captions read_all_captions",
    "embridge.datasets.glyph_models": "folder",
    "embridge.datasets.glyphs": "Glyphs IMAGE_SIZE Part caption drawn_code_points render split undrawn_names",
    "embridge.datasets.image_text": "ImageTextPairs read_image_text",
    "embridge.datasets.judged_pairs": "JudgedPairs pairs_of read_pairs",
    "embridge.datasets.labels": "labels_of read_labels",
    "embridge.datasets.qrels": "read_qrels",
    "embridge.datasets.tables": "Table finite_number read_table require_filled",
    "embridge.datasets.text_lines": "decoded_lines read_captions",
    "embridge.embeddings": "Embeddings HalfEmbeddings concatenate",
    "embridge.encoders": "load",
    "embridge.encoders.base": "Encoder",
    "embridge.encoders.cached": "CachedEncoder",
    "embridge.encoders.caption_cache": "encode_by encode_once needed_bytes",
    "embridge.encoders.clip": "ClipEncoder",
    "embridge.encoders.http": "HttpEncoder",
    "embridge.encoders.lazy": "LazyEncoder",
    "embridge.encoders.open_clip": "OpenClipEncoder",
    "embridge.encoders.providers": "PROVIDERS Provider load provider_of",
    "embridge.encoders.scores": "score_terms",
    "embridge.encoders.sentence_transformers": "SentenceTransformerEncoder",
    "embridge.encoders.squares": "square_pixels",
    "embridge.encoders.trained": "TrainedEncoder",
    "embridge.errors": (
        "ArtefactError EmbridgeError GateRefused InvalidInput MissingExtra MissingSetting ServiceError SettingsError "
        "SpaceMismatch StoreError WorkerError WrongDirection require"
    ),
    "embridge.evaluation.agreement": "NeighbourAgreement neighbour_agreement_at_k",
    "embridge.evaluation.backfill_curve": "Mixed backfill_auc backfill_curve backfilled cut_offs",
    "embridge.evaluation.calibrate": "fit_calibration isotonic",
    "embridge.evaluation.cells": "Bench MORE_CELLS",
    "embridge.evaluation.chains": "chain_reports compatibility_matrices",
    "embridge.evaluation.choose_fusion": "GRID choose_alpha split_support",
    "embridge.evaluation.compare": "CellChange compare",
    "embridge.evaluation.compatibility": (
        "Answer Comparison FEWEST_CHANGED compatible expected_flip_rates flip_rates flips"
    ),
    "embridge.evaluation.evaluate": "evaluate",
    "embridge.evaluation.figures": "Asked Curve Figure Flip Histogram Ratios ScoreShift SliceFigure worst_first",
    "embridge.evaluation.full_ranking": "full_average_precision",
    "embridge.evaluation.gates": "FLIP_RATES Gate GateResult check_gates parse_gate require_gates",
    "embridge.evaluation.judged": "Judged JudgedByLabel JudgedByPair",
    "embridge.evaluation.landmarks": (
        "LandmarkRelevance SETTINGS Setting landmark_average_precision landmark_precision_at_k without_junk"
    ),
    "embridge.evaluation.measures": "FULL MEASURES Measure measure",
    "embridge.evaluation.metrics": "Empty average_precision cmc_at_k first_hits mrr ndcg_at_k recall_at_k",
    "embridge.evaluation.missing": "Missing",
    "embridge.evaluation.one_set": "OwnItems is_one_set own_rows settle_own share_items without_rows",
    "embridge.evaluation.ratios": "break_even p_1 p_comp p_up retention update_gain",
    "embridge.evaluation.relevance": "AnyRelevance LabelRelevance Relevance",
    "embridge.evaluation.render.html": "PAGE_MARKS Picture Show pictures_from report_html save_html",
    "embridge.evaluation.render.markdown": "report_markdown tables_markdown",
    "embridge.evaluation.render.pictures": "Picture Show pictures_from small_picture",
    "embridge.evaluation.render.terminal": "ReportTable cell_tables flip_text interval_text report_tables",
    "embridge.evaluation.report": "BACKFILLED CEILING Cell DIRECTIONS OLD Report Task UPGRADED",
    "embridge.evaluation.report_files": "load_report load_summary require_free_report save_report summary_to_dict",
    "embridge.evaluation.report_values": "read_values write_values",
    "embridge.evaluation.retrieve": "Retrieved drawn_at_the_end hits_and_ties retrieve",
    "embridge.evaluation.scope": "CROSS_MODAL Scope Unjudged",
    "embridge.evaluation.score_shift": "FEWEST_KEPT Threshold ks_distance precision_above threshold_for_precision",
    "embridge.evaluation.sequences": (
        "average_accuracy average_compatibility backward_compatibility forward_compatibility sequence_matrix"
    ),
    "embridge.evaluation.sides": "Side fingerprint require_same_items",
    "embridge.evaluation.slices": "frequency_slices",
    "embridge.evaluation.statistics": "Drawn Interval bootstrap_mean queries_needed weighted_mean",
    "embridge.evaluation.summarise": "summarise",
    "embridge.evaluation.summary": "Summary",
    "embridge.evaluation.tied_metrics": (
        "TIED_METRICS expected_average_precision expected_first_rank expected_ndcg expected_recall"
    ),
    "embridge.evaluation.ties": "Searched Ties dense find_ties merged_ties runs_of",
    "embridge.evaluation.verdict": "Decision Verdict decide with_gates",
    "embridge.evaluation.verification": "Acceptance tar_at_far",
    "embridge.export": "FoldTarget fold foldable_into query_path",
    "embridge.export.clip": "fold_clip",
    "embridge.export.onnx": "to_onnx",
    "embridge.export.sentence_transformers": "fold_sentence_transformer",
    "embridge.integrations.langchain": "UpgradedEmbeddings",
    "embridge.integrations.llama_index": "UpgradedEmbedding",
    "embridge.integrations.sentence_transformers": "BridgeModule upgraded_model",
    "embridge.items.missing": "MissingItem",
    "embridge.items.reading": "Columns Items read_items",
    "embridge.items.source": "ItemSource",
    "embridge.jobs.adopt": "AdoptionCheck adopt_index",
    "embridge.jobs.adoption": "Adoption Agreement Claim OddRow Verdict",
    "embridge.jobs.demo": "DemoResult run_demo",
    "embridge.jobs.describe": "describe",
    "embridge.jobs.description": "Description Kind",
    "embridge.jobs.evaluate": "JUDGED_CAPTIONS NAMED_FOR_EVALUATION evaluate_upgrade",
    "embridge.jobs.export": "export_upgrade",
    "embridge.jobs.fit": "Fitted fit_upgrade",
    "embridge.jobs.fitted": "Fitted",
    "embridge.jobs.import_vectors": "VectorFile import_vectors",
    "embridge.jobs.inspect": "inspect_file inspect_path inspect_store",
    "embridge.jobs.inspection": "Inspection",
    "embridge.jobs.models": "Models options_of takes_images with_lora",
    "embridge.jobs.report": "Comparison compare_reports show_report",
    "embridge.jobs.rollout.apply": "Applied apply_plan check_plan",
    "embridge.jobs.rollout.dropping": "drop_old_rows rows_to_drop take_over_name",
    "embridge.jobs.rollout.filling": "completed filled filled_at_the_end",
    "embridge.jobs.rollout.gating": "checked_gates named_report",
    "embridge.jobs.rollout.moving": "change_phase move_canary move_phase moved",
    "embridge.jobs.rollout.opened": "OpenRollout OpenState open_rollout open_state",
    "embridge.jobs.rollout.ordering": "order_of",
    "embridge.jobs.rollout.pace": "Pace",
    "embridge.jobs.rollout.planning": "plan_rollout",
    "embridge.jobs.rollout.shadowing": "ShadowResult shadow_rollout",
    "embridge.jobs.rollout.status": "RolloutStatus rollout_status status_of watch_rollout",
    "embridge.jobs.search": "Found SearchOptions search_queries search_store",
    "embridge.jobs.train": "train_model",
    "embridge.jobs.trained_result": "TrainedResult",
    "embridge.jobs.transfer": "Transfer export_store",
    "embridge.jobs.translate": "Translated encode_table translate_file translate_store",
    "embridge.methods": "checked configured make record_of",
    "embridge.methods.base": "Method Pairs",
    "embridge.methods.candidate_scores": "Scores Search scores_of_pairs scores_of_queries with_few_queries",
    "embridge.methods.choice": "Candidate Choice JudgedQueries STATUS_QUO multiply_adds",
    "embridge.methods.choose": "CANDIDATES Choose choose",
    "embridge.methods.devices": "bfloat16_pays in_bfloat16 require_device",
    "embridge.methods.divergence": "require_converging",
    "embridge.methods.fastfill": "FastFill fastfill_loss",
    "embridge.methods.fct": "FCT Network check_network fct_loss network with_side",
    "embridge.methods.gromov_wasserstein": "cluster couple similarity_profiles",
    "embridge.methods.identity_map": "IdentityMap",
    "embridge.methods.isometry": "isometry_figures isometry_loss singular_values",
    "embridge.methods.judges": "HeldOutCaptions HeldOutImages HeldOutLoss HeldOutNeighbours Judge POOL last_ranks surely_higher",
    "embridge.methods.lambda_orthogonal": ("LambdaOrthogonal contrastive_loss orthogonality_gap orthogonality_penalty"),
    "embridge.methods.least_squares": "Grid PENALTIES Path choose path_of require_spread",
    "embridge.methods.low_rank": "LowRank",
    "embridge.methods.mean_shift": "MeanShift",
    "embridge.methods.moments": "LEADING Moments WHOLE leading polar",
    "embridge.methods.neighbour_refinement": (
        "averaged mutual_pairs mutual_score nearest_rotation relative_targets shared_neighbours"
    ),
    "embridge.methods.neighbour_map": "NeighbourMap",
    "embridge.methods.pair_rows": "Rows reversed_pairs split_rows",
    "embridge.methods.perceptron": "Perceptron",
    "embridge.methods.procrustes": "Procrustes",
    "embridge.methods.projection": "HasPartWay PartWay Projection",
    "embridge.methods.prompts": "prompt_shift rotation_fails",
    "embridge.methods.real_pairs": "RealPairs",
    "embridge.methods.record": "MethodRecord",
    "embridge.methods.residual_mlp": "ResidualMLP residual_loss",
    "embridge.methods.reweighted_procrustes": "ReweightedProcrustes fit_reweighted",
    "embridge.methods.ridge": "Ridge",
    "embridge.methods.signal": "check_signal own_is_higher require_spread",
    "embridge.methods.spread": "evenly_spread",
    "embridge.methods.training_loop": "Data Outcome Task train train_by_loss",
    "embridge.methods.training_settings": "Training",
    "embridge.methods.unit_rows": "UnitRows WeighedRows",
    "embridge.methods.unpaired": "Unpaired fit_unpaired",
    "embridge.methods.validation": "held_out_score warn_if_few warn_if_few_images",
    "embridge.methods.whitened_procrustes": "WhitenedProcrustes fit_whitened whitened",
    "embridge.methods.whitening": "KEPT_MEANS Strength WHITENINGS choose_strength spread_of",
    "embridge.methods.xbt": "XBT",
    "embridge.methods.xbt_losses": "neighbour_loss with_noise xbt_loss",
    "embridge.nearest": "Hits Ranking rerank search top_k",
    "embridge.nearest.ties": "pair_scores rows_of_score tie_keys",
    "embridge.progress": "Progress",
    "embridge.provenance": "Provenance environment library_versions processor",
    "embridge.query": (
        "Calibration Cascade Curve Fusion MixedSearch Over Price VectorCache adaptive_alpha best_of_both comparable "
        "cosines interpolate_scores nlerp over rank_again slerp"
    ),
    "embridge.rollout.amendments": "bridge_rows change_canary on_read",
    "embridge.rollout.async_gallery": "AsyncGallery",
    "embridge.rollout.backfill": "Backfill BackfillLimits BackfillResult Source",
    "embridge.rollout.failures": "Failures read_failures record_failures",
    "embridge.rollout.foreign": "change_queue delete_revived foreign_writes",
    "embridge.rollout.gallery": "Answer Gallery",
    "embridge.rollout.gates": "RolloutGate check_rollout_gates needs_report require_rollout_gates",
    "embridge.rollout.journal": "Entry current_state entries record_move",
    "embridge.rollout.lease": "Lease current_holder is_gone this_process",
    "embridge.rollout.moves": "backfill bridge complete drop_old keep_old pause prepare_again resume roll_back shadow",
    "embridge.rollout.order": "by_class_distance by_cluster_distance by_frequency by_uncertainty in_random_order",
    "embridge.rollout.plan": "Plan read_plan write_plan",
    "embridge.rollout.quality": "Quality deepest_of quality_of",
    "embridge.rollout.shadow": "Shadow",
    "embridge.rollout.shadow_figures": "Latency ShadowFigures shadow_figures",
    "embridge.rollout.shadow_log": "SOURCES ShadowLog ShadowSample add_to_log compare_hits read_log write_log",
    "embridge.rollout.stale": "forget_stale note_stale stale_rows",
    "embridge.rollout.state": "Phase RolloutState Serving Writes serving writes",
    "embridge.scale.captions": "encoded_by",
    "embridge.scale.engine": "Engine SerialEngine",
    "embridge.scale.engines": "EngineSettings open_engine require_engine_name",
    "embridge.scale.gallery": "SpreadGallery Spreading spreading",
    "embridge.scale.local": "LocalEngine",
    "embridge.scale.ray": "RayEngine open_ray",
    "embridge.serve.app": "create_app",
    "embridge.serve.opened": "Opened open_served",
    "embridge.serve.server": "application run take_address",
    "embridge.settings.engine": "EngineSection",
    "embridge.settings.models": "ModelSettings OldModelSettings",
    "embridge.settings.reading": "Strict checked_settings read_settings require_files",
    "embridge.settings.rollout": "RolloutSettings ShadowSettings load_rollout_settings",
    "embridge.settings.serve": "LimitSettings ServeSettings is_loopback load_serve_settings",
    "embridge.settings.stored": "ItemsSettings SpaceName StoredVectors",
    "embridge.settings.training": (
        "BackboneSettings DataSettings ObjectiveSettings OldSettings RowsSettings TrainingSettings VersionSettings "
        "load_training_settings"
    ),
    "embridge.settings.upgrade": "EvaluateSettings FitSettings Settings load_settings store_settings",
    "embridge.settings.vectors": "SpaceSettings VectorsSettings",
    "embridge.space": "Space",
    "embridge.stores": "open_store",
    "embridge.stores.ann_recall": "AnnRecall ann_recall draw_queries",
    "embridge.stores.base": "Condition Filter Store",
    "embridge.stores.capabilities": "Capabilities",
    "embridge.stores.changes": "ChangeQueue NotesChanges",
    "embridge.stores.presence": "KnowsCompany KnowsRows present",
    "embridge.stores.checks": "is_column_name require_column require_columns require_held require_ids require_limit "
    "require_payload require_present",
    "embridge.stores.chroma": "ChromaStore",
    "embridge.stores.documents": "DECLARATIONS Documents FileDocuments JOURNAL MemoryDocuments STATE change_declarations "
    "declarations",
    "embridge.stores.faiss": "FaissStore",
    "embridge.stores.lancedb": "LanceStore",
    "embridge.stores.memory": "MemoryStore",
    "embridge.stores.places": "Declaration IndexState Place RawRows Table VectorColumn checked_parts checked_records",
    "embridge.stores.postgres": "PostgresStore",
    "embridge.stores.qdrant": "QdrantStore",
    "embridge.stores.record": "StoreRecord",
    "embridge.stores.statements": "SaysStatements",
    "embridge.stores.urls": "StoreUrl absolute_url parse_url without_passwords",
    "embridge.testing": (
        "ForeignTable ToyUpgrade check_adapter check_adopted_store check_encoder check_method check_objective check_store"
    ),
    "embridge.training.compatible.augment": "Augment",
    "embridge.training.compatible.averaging": "Average",
    "embridge.training.compatible.held_out_items": "HeldOut nearest_is_right right_of_each",
    "embridge.training.compatible.image_data": "HuggingFaceImages ImageArrays ImageFolder",
    "embridge.training.compatible.labelled": "Labelled LabelledVectors Rows hold_out",
    "embridge.training.compatible.memory_layout": "image_layout unsound_layer",
    "embridge.training.compatible.old_models": "old_model old_vectors",
    "embridge.training.compatible.preparation": "Preparation preparation_of",
    "embridge.training.compatible.pseudo_labels": "Relabelled cluster_names pseudo_labels",
    "embridge.training.compatible.settings": "CompatibleSettings Optimizer",
    "embridge.training.compatible.start": "Start",
    "embridge.training.compatible.task": "Batch CompatibleTask",
    "embridge.training.compatible.trained": "Trained trained_from",
    "embridge.training.compatible.trainer": "CompatibleTraining",
    "embridge.training.lightning.best": "Best copied load",
    "embridge.training.lightning.checkpoints": "PlainCheckpoints require_own",
    "embridge.training.lightning.loop": "CHECKPOINT train",
    "embridge.training.lightning.precision": "Precision precision_on",
    "embridge.training.lightning.quiet": "quiet_lightning",
    "embridge.training.lightning.ranks": "average average_gradients rank_and_world summed",
    "embridge.training.lightning.run": "Run UNRECORDED",
    "embridge.training.lightning.schedules": "Schedule learning_rate_share",
    "embridge.training.lightning.strategies": "STRATEGIES Strategy strategy_of",
    "embridge.training.lightning.task": "Loop Task",
    "embridge.training.objectives": "OBJECTIVES ObjectiveRecord make_objective name_of objective_settings record_of "
    "settings_beside",
    "embridge.training.objectives.advbct": "AdvBCT AdvBCTSettings gradient_reversed trimmed_radii",
    "embridge.training.objectives.base": "Embedded Objective OldModel",
    "embridge.training.objectives.bc_aligner": "BCAligner BCAlignerSettings",
    "embridge.training.objectives.bct": "BCT BCTSettings Targets",
    "embridge.training.objectives.bt2": "BT2 BT2Settings",
    "embridge.training.objectives.classified": "Classified mean_over rows_by_class",
    "embridge.training.objectives.hoc": "HOC HOCSettings higher_order_loss regular_simplex",
    "embridge.training.objectives.independent": "Independent IndependentSettings",
    "embridge.training.objectives.l2": "L2 L2Settings",
    "embridge.training.objectives.lce": "LCE LCESettings least_cosines",
    "embridge.training.objectives.lwf": "LwF LwFSettings",
    "embridge.training.objectives.mixbct": "MixBCT MixBCTSettings margin_logits nearest_share",
    "embridge.training.objectives.ndpp": "NDPP NDPPSettings",
    "embridge.training.objectives.oca": "AlignedTo OCA OCASettings",
    "embridge.training.objectives.odpp": "Hinge ODPP ODPPSettings",
    "embridge.training.objectives.older_versions": "OlderVersions",
    "embridge.training.objectives.orthogonal": "Orthogonal OrthogonalMap OrthogonalStart",
    "embridge.training.objectives.perturbation": (
        "Prototypes moved_from_neighbours pair_hinge random_pairs shift_apart"
    ),
    "embridge.training.objectives.perturbed": "Perturbed PerturbedSettings",
    "embridge.training.objectives.prototype_loss": "PrototypeLoss",
    "embridge.training.objectives.prototypes": "ClassMeans OldUnseen Unseen class_means nearest resolve_unseen",
    "embridge.training.objectives.ract": "RACT RACTSettings",
    "embridge.training.objectives.record": "BridgeKind Cost Items Length Need ObjectiveRecord",
    "embridge.training.objectives.requirements": "needed_embeddings needed_labels needed_old",
    "embridge.training.objectives.settings": (
        "BelowOne Count NotNegative Positive Rule Settings Share Whole check_settings"
    ),
    "embridge.training.objectives.unibct": "UniBCT UniBCTSettings refined_prototypes",
    "embridge.training.objectives.xbt": "Captions XBTCaptioned XBTImageText grouped_info_nce",
    "embridge.training.xbt.bridge": "TrainableBridge",
    "embridge.training.xbt.cached": "PairVectors Towers XBTCached",
    "embridge.training.xbt.cached_gradients": "cached_backward plain_backward",
    "embridge.training.xbt.cached_training": "CachedTraining CachedVectors",
    "embridge.training.xbt.finetune": "XBTFinetune",
    "embridge.training.xbt.held_out_pairs": "HeldOutPairs mean_reciprocal_rank",
    "embridge.training.xbt.lora": "attached_lora find_projections lora_state save_lora",
    "embridge.training.xbt.residuals": "Residuals Tower",
    "embridge.training.xbt.settings": "CachedSettings FinetuneSettings objective_of",
    "embridge.training.xbt.start": "Start Surrogates require_fitted",
    "embridge.training.xbt.task": "Batch XBTTask",
    "embridge.vector_files": "Binding Part SUFFIXES binding count_rows has_ids raw_chunks read_chunks read_rows read_space "
    "read_texts read_vectors table_columns write_rows write_vectors",
}
"""What the reference lists."""


def reference():
    """Every name that the reference lists, by itself or with its module: module → names."""
    found = {}
    for path in re.findall(r"^::: (embridge[\w.]*)$", REFERENCE, re.MULTILINE):
        module = path
        if path in MODULES:
            names = getattr(importlib.import_module(path), "__all__", [])
        else:
            module, _, name = path.rpartition(".")
            names = [name]
        found.setdefault(module, set()).update(names)
    return {module: " ".join(sorted(names)) for module, names in sorted(found.items())}


def test_public_is_what_is_listed_here():
    """A name more or less is a decision: it is made here, in ``__all__`` and in the reference at once."""
    assert reference() == PUBLIC


def documented():
    """Every class and function among them, once, where it is defined."""
    values = [
        getattr(importlib.import_module(module), name) for module, names in PUBLIC.items() for name in names.split()
    ]
    own = {f"{v.__module__}.{v.__qualname__}": v for v in values if isinstance(v, type | FunctionType)}
    return [pytest.param(value, id=where) for where, value in sorted(own.items()) if where.startswith("embridge.")]


def test_a_module_is_in_the_reference_or_private_by_name():
    """A home of names that its package hands on is in the reference by its package."""
    paths = re.findall(r"^::: (embridge[\w.]*)$", REFERENCE, re.MULTILINE)
    unnamed = []
    paths.append("embridge.cli")  # its page is docs/cli.md
    for name in MODULES:
        private = any(part.startswith("_") for part in name.split("."))
        listed = name in paths or any(path.startswith(f"{name}.") for path in paths)
        package = importlib.import_module(name.rpartition(".")[0] or name)
        handed_on = set(getattr(importlib.import_module(name), "__all__", [])) & set(getattr(package, "__all__", []))
        if not (private or listed or (handed_on and package.__name__ != "embridge")):
            unnamed.append(name)
    assert unnamed == []


def test_the_top_level_names_are_these():
    assert sorted(embridge.__all__) == sorted(TOP)
    assert {*embridge._HOMES, "__version__"} == set(TOP)
    assert set(TOP) <= set(dir(embridge))
    with pytest.raises(AttributeError, match="module 'embridge' has no attribute 'nothing'"):
        _ = embridge.nothing


def test_type_checkers_see_what_is_imported_lazily():
    tree = ast.parse(Path(embridge.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    homes = {
        alias.asname or alias.name: (line.module, alias.name)
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert homes == {
        name: (f"embridge.{home}", embridge._NAMES_AT_HOME.get(name, name)) for name, home in embridge._HOMES.items()
    }


def test_the_top_level_names_are_importable_by_star():
    namespace = {}
    exec("from embridge import *", namespace)
    assert set(embridge.__all__) <= set(namespace)


def test_the_top_level_names_are_in_the_reference():
    page = (ROOT / "docs" / "reference" / "embridge.md").read_text()
    assert [name for name in TOP if not re.search(rf"\b{name}\b", page)] == []


def test_the_version_is_the_installed_one():
    assert embridge.__version__ == importlib.metadata.version("embridge")


@pytest.mark.parametrize("name", MODULES)
def test_exported_names_exist_and_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} lacks a docstring"
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    for member in exported:
        value = getattr(module, member)
        if inspect.isclass(value) or inspect.isfunction(value):
            written = inspect.getdoc(value) or ""
            made_by_dataclass = written.startswith(f"{member}(")
            assert written, f"{name}.{member} lacks a docstring"
            assert not made_by_dataclass, f"{name}.{member} lacks a docstring of its own"


@pytest.mark.parametrize("value", documented())
def test_docstrings_have_sections_and_an_example(value):
    """``Args:`` or ``Attributes:`` name every argument, what is returned is told, and an example runs."""
    assert problems(value) == [], f"{value.__module__}.{value.__qualname__}"


def problems(value):
    text = inspect.getdoc(value) or ""
    named = set(re.findall(r"^    \*{0,2}(\w+)(?: \([^)]*\))?:", text, re.MULTILINE))
    arguments = arguments_of(value)
    found = [f"{name} is in no Args section" for name in arguments if name not in named]
    if arguments and not re.search(r"^(Args|Attributes):$", text, re.MULTILINE):
        found.append("no Args section")
    if inspect.isfunction(value) and returns(value) and not re.search(r"^(Returns|Yields):$", text, re.MULTILINE):
        found.append("no Returns section")
    if not re.search(r"^Examples:\n    >>> ", text, re.MULTILINE) and needs_example(value):
        found.append("no Examples section")  # in the plural: mkdocstrings shows it as code
    return found


def arguments_of(value):
    if inspect.isclass(value):
        if dataclasses.is_dataclass(value):
            own = inspect.get_annotations(value)  # those of a base class are documented there
            fields = [field for field in dataclasses.fields(value) if field.init and field.name in own]
            return [field.name for field in fields if not field.name.startswith("_")]
        if not plain(value):
            return []
        value = value.__init__
    names = list(inspect.signature(value).parameters)
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def plain(kind):
    """A class that people make themselves: no protocol, error, type of a dictionary or settings read from YAML."""
    special = getattr(kind, "_is_protocol", False) or issubclass(kind, BaseException) or typing.is_typeddict(kind)
    return not special and "__init__" in vars(kind) and not inspect.isabstract(kind)


def needs_example(value):
    if inspect.isfunction(value) or dataclasses.is_dataclass(value):
        return True
    return plain(value)


def returns(value):
    annotation = inspect.signature(value).return_annotation
    return annotation not in (None, "None", inspect.Signature.empty)
