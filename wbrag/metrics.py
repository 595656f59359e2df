"""Public metrics, for scripts and notebooks: `from wbrag.metrics import acc, em, f1`. Re-exports only."""

from wbrag.core.metrics import METRICS, acc, em, f1

__all__ = ["METRICS", "acc", "em", "f1"]
