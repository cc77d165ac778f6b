"""What the workflows in .github/workflows do, as commands that run anywhere: previews of all
stacks as one comment, deployments that the policies allow, and drift as one issue."""
