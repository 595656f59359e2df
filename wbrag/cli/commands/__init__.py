"""Commands: one module per group of verbs, whose `add` puts their parsers on the command line."""
