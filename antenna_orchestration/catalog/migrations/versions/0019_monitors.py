"""Workers that are started for a backlog: starts, pools, measured speeds."""

from pathlib import Path

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute((Path(__file__).parent / "0019_monitors.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    raise RuntimeError("the catalog is the record of results: restore a backup instead of going back")
