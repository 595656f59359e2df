"""Training: what learns from recorded usefulness. Plain torch; it knows no Ray, and starts no model."""
