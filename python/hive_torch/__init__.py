"""HIVE in PyTorch: model, recipe, data and checkpoints of the Rust program `hive`, for several processes."""

__version__ = "0.1.0"
