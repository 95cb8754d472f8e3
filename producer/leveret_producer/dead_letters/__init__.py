"""Dead letters as operators see them: which are meant, what is done with many of them, and the queue's old messages."""
