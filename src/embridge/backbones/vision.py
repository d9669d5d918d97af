"""VisionBackbone: a vision model of transformers, from a config or from a folder with its weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from embridge.backbones.base import Backbone, drawn_from, require_counts
from embridge.backbones.record import Takes
from embridge.errors import InvalidInput, SettingsError, require

__all__ = ["VisionBackbone"]


@final
class VisionBackbone(Backbone):
    """The pooled output of ViT, ResNet, ConvNeXt and the like, through a linear layer.

    Where a model has no pooler, its last hidden states are averaged. Which pixels a model with weights of its own was trained
    on, its preprocessor says: give them to the training (``pixel_mean``, ``pixel_std``). Needs the extra ``clip``.

    Args:
        config: As ``transformers`` writes it (``{"model_type": "vit", …}``).
        feature_dim: The dims of its features.
        seed: The weights are drawn from it.

    Raises:
        SettingsError: transformers does not know the config, or the model is not of images alone.
        MissingExtra: transformers is not installed.

    Examples:
        >>> tiny = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}
        >>> VisionBackbone(tiny, 4)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 4])
    """

    kind: ClassVar[str] = "vision"
    takes: Takes = "images"

    def __init__(self, config: Mapping[str, Any], feature_dim: int, *, seed: int = 0) -> None:
        super().__init__()
        require_counts("vision", feature_dim=feature_dim)
        self.feature_dim, self.seed = feature_dim, seed
        with drawn_from(seed):
            self.model = _model(config)
            self.last = nn.Linear(self._width(), feature_dim)

    @classmethod
    def from_folder(cls, folder: Path | str, feature_dim: int, *, seed: int = 0) -> VisionBackbone:
        """Begin with the weights of a model in a folder.

        Args:
            folder: As ``save_pretrained`` writes it.
            feature_dim: The dims of its features.
            seed: The linear layer is drawn from it.

        Returns:
            The backbone.

        Raises:
            InvalidInput: There is no such folder, its model cannot be read, or it lacks some of its weights.
        """
        transformers = require("transformers", extra="clip")
        if not Path(folder).is_dir():
            raise InvalidInput(f"vision: there is no folder {folder}; save a model there with save_pretrained")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model, loading = transformers.AutoModel.from_pretrained(
                    str(folder), output_loading_info=True, trust_remote_code=False, use_safetensors=True
                )
        except Exception as error:  # transformers and safetensors share no base class but this
            raise InvalidInput(f"vision: {folder} holds no model that can be read: {error}") from error
        missing = sorted(name for name in loading["missing_keys"] if "pooler" not in name)
        if missing:
            raise InvalidInput(f"vision: {folder} lacks {len(missing)} weights of its model, for instance {missing[0]}")
        backbone = cls(model.config.to_dict(), feature_dim, seed=seed)
        backbone.model.load_state_dict(model.state_dict())
        return backbone

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.last(self._pooled(x))
        return features

    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.model.config.to_diff_dict() | {"model_type": self.model.config.model_type}
        dropped = ("transformers_version", "_name_or_path", "architectures", "dtype")
        return {"config": {k: v for k, v in config.items() if k not in dropped}, "feature_dim": self.feature_dim}

    def _pooled(self, x: Tensor) -> Tensor:
        out = self.model(x)
        pooled: Tensor | None = getattr(out, "pooler_output", None)
        if pooled is None:
            hidden: Tensor = out.last_hidden_state
            pooled = hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)
        return pooled.flatten(1)

    def _width(self) -> int:
        side = getattr(self.model.config, "image_size", None)
        training = self.model.training
        probe = torch.zeros(1, 3, *([side, side] if isinstance(side, int) else [64, 64]))
        with torch.no_grad():
            width = self.eval()._pooled(probe).shape[1]
        self.train(training)
        return width


def _model(config: Mapping[str, Any]) -> Any:
    transformers = require("transformers", extra="clip")
    described = dict(config)
    kind = described.pop("model_type", None)
    try:
        model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **described))
    except Exception as error:  # a config that is not of its model fails in as many ways as there are models
        raise SettingsError(
            f"vision: transformers makes no model of this config (model_type {kind!r}): {error}"
        ) from error
    if model.main_input_name != "pixel_values" or hasattr(model.config, "text_config"):
        raise SettingsError(f"vision: {type(model).__name__} is not a model of images alone; name a vision model")
    return model
