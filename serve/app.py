"""Application builder for Ray Serve: `serve run serve.app:build config=my.yaml`, `serve deploy serve/config.yaml`.

The workspace must be a path that every node of the cluster sees.
"""

from wbrag.serving.ray.app import build

__all__ = ["build"]
