"""Which catalog the lake belongs to."""

from pathlib import Path

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute((Path(__file__).parent / "0027_lake_mark.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    raise RuntimeError("the catalog is the record of results: restore a backup instead of going back")
