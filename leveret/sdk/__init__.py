"""What users import to write handlers."""
