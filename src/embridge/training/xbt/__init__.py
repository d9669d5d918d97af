"""XBT: image-text training of the new model with a LoRA, without the old model."""
