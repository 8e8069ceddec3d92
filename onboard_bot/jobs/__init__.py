"""Carries the intents out: claims due jobs, runs them, retries or gives up. One file per kind of effect."""
