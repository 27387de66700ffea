"""Pipelines: what finds and names the insects in an image. Only this package imports torch.

`interface` says what a pipeline is, and `registry` which ones there are. `light_trap/`, `published/`, `exported/` and
`null` are the built-in kinds. `weights` fetches model files, `images` decodes photographs, `torch_device` does what a
GPU needs, and `scoring` and `labels` turn a classifier's outputs into classifications. `pictures` draws results for
people.
"""
