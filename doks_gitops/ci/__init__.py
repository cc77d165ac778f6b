"""What workflows run: previews of all stacks as one comment, checked deployments, and drift as one
issue."""
