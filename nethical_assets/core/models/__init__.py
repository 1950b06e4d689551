"""The model registry and how long models are kept."""
