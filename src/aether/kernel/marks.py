"""What a position is valued at: the book's mid while the book is fresh, else the newest that is known."""

NO_MARK, BOOK, TRADE, BAR = 0, 1, 2, 3


def choose_mark(mid: int, book_ns: int, last: int, trade_ns: int, close: int, bar_ns: int, fresh_from_ns: int) -> int:
    """Return which of book, trade and bar to value by (`BOOK`, ...), `NO_MARK` when nothing is known.

    Args:
        mid, last, close: prices, 0 where unknown; each with the time from which it is known.
        fresh_from_ns: a book no older than this goes before everything.
    """
    if mid and book_ns >= fresh_from_ns:
        return BOOK
    chosen, newest = NO_MARK, -1
    if close:
        chosen, newest = BAR, bar_ns
    if last and trade_ns >= newest:
        chosen, newest = TRADE, trade_ns
    if mid and book_ns >= newest:
        chosen = BOOK
    return chosen
