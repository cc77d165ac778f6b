"""The operations, by what they are about. Each module's `OPERATIONS` lists its own."""

REPOSITORY = "/repos/{owner}/{repository}"
