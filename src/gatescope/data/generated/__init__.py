"""Tasks whose examples are generated from (config, seed); they need no file and no extra package."""
