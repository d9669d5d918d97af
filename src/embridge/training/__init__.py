"""Training of encoders: objectives as plain torch modules, LoRA, contrastive batches larger than memory, and XBT's stage 2."""
