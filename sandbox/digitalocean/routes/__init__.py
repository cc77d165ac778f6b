"""The operations of the API, one module for each section of its documentation."""
