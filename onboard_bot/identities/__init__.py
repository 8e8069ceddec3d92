"""Takes the operator's word on cross-signing identities, also while the bot runs: `trust` and `reset-identity`."""
