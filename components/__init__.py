"""Pulumi components of the platform. Each is in its own file and can be used alone."""
