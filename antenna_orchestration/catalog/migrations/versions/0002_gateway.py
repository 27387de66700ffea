"""What the HTTP gateway needs: which project a pipeline was registered for, and by which worker."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute((Path(__file__).parent / "0002_gateway.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    raise RuntimeError("the catalog is the record of results: restore a backup instead of going back")
