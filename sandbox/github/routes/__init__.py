"""The operations of the API, one module for each kind of resource, listed in its `OPERATIONS`."""

REPOSITORY = "/repos/{owner}/{repository}"
