"""The stages that a task passes, in order: scheduler, image fetcher, batcher, (device process), reporter."""
