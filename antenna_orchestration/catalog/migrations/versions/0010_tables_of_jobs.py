"""What the lake's tables say of the job that a row is from, and where its nights are cut."""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute((Path(__file__).parent / "0010_tables_of_jobs.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    raise RuntimeError("the catalog is the record of results: restore a backup instead of going back")
