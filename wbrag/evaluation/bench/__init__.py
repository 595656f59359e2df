"""The paper's experiment, and a more careful one: a grid of methods, sets and models over several libraries."""
