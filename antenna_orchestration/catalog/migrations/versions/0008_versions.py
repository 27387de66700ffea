"""Versions of captures, and what jobs were submitted with."""

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute((Path(__file__).parent / "0008_versions.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    raise RuntimeError("the catalog is the record of results: restore a backup instead of going back")
