"""The platform's parts: each a Pulumi component that works alone, in a file of its own."""
