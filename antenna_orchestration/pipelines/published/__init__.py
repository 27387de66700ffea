"""The published moth pipelines: descriptions (`specs`), networks (`architectures`) and the class that runs them."""
