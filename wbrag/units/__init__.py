"""Units: the library of distilled passages, with its checks, decisions, releases and use."""
