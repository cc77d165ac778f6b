"""GitOps repository tools: scaffold an environment, show status, promote or revert image tags."""
