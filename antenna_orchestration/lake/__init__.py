"""Parquet and images through fsspec: parts in progress, final tables, previews."""
