"""What a reviewer would ask of every stack, asked by Pulumi itself."""
