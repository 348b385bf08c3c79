"""The HTTP library's own log lines, without the secrets of URLs."""

from __future__ import annotations

import logging
import re

# urllib3 logs requests with path and query, at DEBUG always and at WARNING when something is odd about an answer.
_LOGGERS = ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry")
_QUERY = re.compile(r"\?[^\s\"'<>]+")


class _HidesQueries(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        hidden = _QUERY.sub("?***", said)
        if hidden != said:
            record.msg, record.args = hidden, ()
        return True


_FILTER = _HidesQueries()


def hide_queries() -> None:
    """Cut the query, where signatures and tokens stand, from every URL that urllib3 logs. Harmless to repeat."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
