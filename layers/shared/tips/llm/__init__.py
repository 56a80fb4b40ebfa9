"""Writing tips with a language model. Only `generate` and offline code import this package."""
