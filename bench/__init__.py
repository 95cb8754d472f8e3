"""How fast is Leveret, beside the least code that does the same on the same servers? `python -m bench` measures it.

A time measured here says little elsewhere, and little an hour later on the same machine. So each result is a ratio of
two rates of one run: Leveret's, and that of a bare reference which inserts, publishes, consumes or upserts the same
things and does nothing else. They take turns, so that both meet the same machine. With `--base` the other one is Leveret
itself at an older commit. `limits.yaml` holds what each ratio must be.
"""
