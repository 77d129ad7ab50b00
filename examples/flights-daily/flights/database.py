"""DuckDB in a container that can write to `/tmp` alone and reaches no network."""

import tempfile
from pathlib import Path

import duckdb


def connect() -> duckdb.DuckDBPyConnection:
    """Return an in-memory database: one thread, 256 MB, spilling to the temporary folder, no extensions."""
    scratch = Path(tempfile.gettempdir()) / "duckdb"
    scratch.mkdir(exist_ok=True)
    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": "256MB",
            "temp_directory": str(scratch / "spill"),
            "home_directory": str(scratch),
            "extension_directory": str(scratch / "extensions"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
