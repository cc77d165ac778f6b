"""Stand-ins for the Pulumi plugins that no package registry offers."""
