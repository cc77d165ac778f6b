"""What a team runs around the platform: settings, previews, deployments, recovery, promotion."""
