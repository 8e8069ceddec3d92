"""A real Synapse in a scratch folder, and what the demo shows with it; needs the extra `demo`, the bot does not."""
