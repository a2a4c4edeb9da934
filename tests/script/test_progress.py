"""What a person sees while something goes on."""

import io

import pytest

from steps.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_line_at_the_beginning_and_one_at_the_end() -> None:
    stream = io.StringIO()
    with Progress(stream).step("Building") as step:
        step.done("Built")
    assert stream.getvalue() == "  · Building …\n  ✓ Built\n"


def test_a_terminal_gets_one_line_that_changes_in_place() -> None:
    stream = Terminal()
    with Progress(stream).step("Building"):
        pass
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\r\x1b[K  ✓ Building\n")


def test_a_failure_leaves_the_title_of_what_failed() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="broken"), Progress(stream).step("Building"):
        raise ValueError("broken")
    assert stream.getvalue().endswith("  ✗ Building\n")
