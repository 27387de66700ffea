"""Pipelines that a YAML file declares: models of other people's training, run by our code.

`description` reads the YAML file and `recipe` is what it says with all defaults filled in; neither imports torch or
numpy. `pipeline` runs a recipe, with one module for each kind of model file. A YAML file of the older form, which
describes one program of `torch.export`, is read by `exported/`.
"""
