"""Text of others: what a server, an error or a payload says may hold what no database and no JSON takes."""


def plain(text: str, longest: int) -> str:
    """Return at most so many characters of it, as PostgreSQL and UTF-8 can hold them."""
    return text.replace("\0", "")[:longest].encode(errors="replace").decode()
