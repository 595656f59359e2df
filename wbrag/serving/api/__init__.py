"""HTTP API: the OpenAI-compatible routes, and what every request passes on its way in and out."""
