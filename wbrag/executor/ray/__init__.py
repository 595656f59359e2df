"""Ray executor: long-lived model actors, and passes over rows that call them."""
