"""Numbered migrations of the catalog, run by Alembic."""
