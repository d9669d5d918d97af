"""Training of encoders: objectives, compatible training from images or vectors, XBT's finetuning, and the loop of both."""
