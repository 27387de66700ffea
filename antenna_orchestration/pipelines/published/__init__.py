"""The published pipelines: their descriptions, architectures and the class that runs them."""
