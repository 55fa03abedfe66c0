"""Files of rows."""

import json

import pytest


@pytest.fixture
def rows(tmp_path):
    """Writes rows to a file and gives its path."""

    def write(*found, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in found))
        return str(path)

    return write
