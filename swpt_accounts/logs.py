"""The format and the level of log lines. Only the entry points call this.

Log lines go to stdout, each in one write, so that processes can share it.
"""

import logging
import logging.config
import sys
import threading
from types import TracebackType
from typing import Any, Final

logger = logging.getLogger("swpt_accounts")

_DATE_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%z"
_TEXT_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_JSON_FORMAT: Final = "%(asctime)s%(levelname)s%(name)s%(message)s"

# Whose lines are wanted at the level that was asked for.
_FOLLOWED: Final = ("swpt_accounts", "alembic.runtime.migration", "gunicorn.error")
# What others write is of interest from this level up.
_OTHERS_LEVEL: Final = logging.WARNING
# Their warnings and errors repeat, at length, what our own line says when a
# server is lost.
_SILENCED: Final = ("pika",)


def set_up(level: str, log_format: str) -> None:
    """Write log lines as the settings APP_LOG_LEVEL and APP_LOG_FORMAT say.

    Exceptions that nobody has caught, in whatever thread, are logged as well:
    a traceback on stderr would not be JSON.
    """
    # What cannot be encoded must not lose the line.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    logging.config.dictConfig(configuration(level, log_format))
    logging.captureWarnings(True)  # noqa: FBT003 - it has no other name
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


def configuration(level: str, log_format: str) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes, as gunicorn wants it too."""
    own_level = level.upper()
    is_debug = level == "debug"
    formatter: dict[str, Any] = {"format": _TEXT_FORMAT, "datefmt": _DATE_FORMAT}
    if log_format == "json":
        formatter = {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": _JSON_FORMAT,
            "datefmt": _DATE_FORMAT,
        }
    loggers: dict[str, Any] = {name: {"level": own_level} for name in _FOLLOWED}
    loggers |= {name: {"level": "WARNING" if is_debug else "CRITICAL"} for name in _SILENCED}
    # One line for each request; gunicorn writes them with level INFO.
    loggers["gunicorn.access"] = {"level": "INFO" if is_debug else "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "stream": "ext://sys.stdout",
            }
        },
        "root": {
            "level": max(_OTHERS_LEVEL, logging.getLevelNamesMapping()[own_level]),
            "handlers": ["stdout"],
        },
        # gunicorn keeps its lines to itself otherwise.
        "loggers": {name: {**logger, "propagate": True} for name, logger in loggers.items()},
    }


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.critical("uncaught exception: %s", _summary(error), exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value
    if error is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else "unknown"
    logger.critical(
        "uncaught exception in thread %s: %s",
        name,
        _summary(error),
        exc_info=(args.exc_type, error, args.exc_traceback),
    )


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    error = args.exc_value
    logger.error(
        "exception that could not be raised, in %r: %s",
        args.object,
        args.err_msg or _summary(error),
        exc_info=None if error is None else (args.exc_type, error, args.exc_traceback),
    )


def _summary(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}" if error is not None else "unknown"
