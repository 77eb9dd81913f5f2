"""Constitutional AI bootstrapping: from a base model to an aligned one, without labels and without a second model."""

__version__ = "0.1.0"
