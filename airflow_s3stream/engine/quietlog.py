"""The libraries' own log lines, without the secrets in them."""

from __future__ import annotations

import logging
import re

# urllib3 logs requests with path and query, at DEBUG always and at WARNING when something is odd about an answer; and
# what it could not read of an answer's head, where cookies are.
_HTTP = ("urllib3.connection", "urllib3.connectionpool", "urllib3.poolmanager", "urllib3.util.retry")
# botocore logs, at DEBUG, requests with all headers and what it signed, answers with their bodies, those that bring
# credentials too, and the exceptions of the libraries below.
_AWS = (
    "botocore.auth", "botocore.credentials", "botocore.endpoint", "botocore.handlers", "botocore.httpsession",
    "botocore.parsers", "botocore.regions", "botocore.retryhandler", "botocore.session", "botocore.tokens",
    "botocore.utils",
)  # fmt: skip
_QUERY = re.compile(r"\?[^\s\"]+")  # as the libraries encode it, neither stands in it
_PLACE = re.compile(r"%(?:\(\w+\))?[#0\- +]*\d*(?:\.\d+)?[a-zA-Z]")


class _HidesQueries(logging.Filter):
    """Cuts the query, where signatures and tokens stand, from every URL; leaves the kind of an exception only."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(type(arg).__name__ if isinstance(arg, Exception) else arg for arg in record.args)
        record.exc_info = record.exc_text = None
        said = record.getMessage()
        hidden = _QUERY.sub("?***", said)
        if hidden != said:
            record.msg, record.args = hidden, ()
        return True


class _HidesArguments(logging.Filter):
    """Leaves, of what is said at DEBUG, what happened, and not with what: the text without its arguments."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG:
            if record.args:
                record.msg, record.args = _PLACE.sub("***", str(record.msg)), ()
            record.exc_info = record.exc_text = None
        return True


_FILTERS: tuple[tuple[logging.Filter, tuple[str, ...]], ...] = ((_HidesQueries(), _HTTP), (_HidesArguments(), _AWS))


def hide_secrets() -> None:
    """Keep the secrets of URLs, headers and credentials out of what urllib3 and botocore log. Harmless to repeat."""
    for hides, names in _FILTERS:
        for name in names:
            logging.getLogger(name).addFilter(hides)
