"""How the database came to its shape: forward-only steps, one file each, written by hand."""
