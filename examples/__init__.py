"""What Leveret is used for: each folder is one example, run in the image `leveret/examples`."""
