"""Cancels on their way to the consumers, and for as long as they are wanted."""
