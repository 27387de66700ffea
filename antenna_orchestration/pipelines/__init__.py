"""Pipelines: what finds and names the insects in an image.

Only this package and the worker's device process (`worker/device/process.py`, `worker/device/template.py`) import
torch. `interface` says what a pipeline is, and `registry` which ones there are. `light_trap/`, `published/` and `null`
are built in; `declared/` runs what YAML files declare, `exported/` what those of the older form do. `weights` fetches
model files, `images` decodes photographs, `torch_device` does what a GPU needs, and `scoring` and `labels` turn a
classifier's outputs into classifications. `pictures` draws results for people.
"""
