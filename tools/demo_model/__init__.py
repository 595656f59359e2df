"""The demo's language model: training samples, tokenizer, training and evaluation; only the weights are shipped."""
