"""What each stage does, in a module of its name: `make` for its shards, `reduce` for what follows them."""
