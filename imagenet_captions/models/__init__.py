"""Architectures and checkpoints: every model behind one interface.

`build.build_model` makes one with random weights; `load` has `load_model`, `save_model` and `export_model`;
`model.Model` is the face, `config.PRESETS` the table of what this package names.
"""
