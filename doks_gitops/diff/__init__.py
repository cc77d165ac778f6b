"""What Argo CD would apply at one commit of the monorepo against what it would apply at another."""
