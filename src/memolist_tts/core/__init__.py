"""The rules: what is spoken, when, by whom, and what becomes of it. No I/O."""
