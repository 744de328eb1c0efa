"""Architectures and checkpoints: every model behind one interface.

`build.build_model` makes one with random weights, `load.load_model` one with the weights of a checkpoint,
`save.save_model` writes one; `model.Model` is the face, `presets.PRESETS` the table of what this package names.
"""
