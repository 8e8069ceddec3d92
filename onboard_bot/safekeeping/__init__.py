"""Saves the state of the bot into one file, and makes a state of such a file again."""
