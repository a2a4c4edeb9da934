"""What an audit that fails says."""


class Discrepancy(AssertionError):
    """The books and what is observed do not agree."""


def require(condition: bool, sentence: str) -> None:
    """Raise `Discrepancy` with the sentence, unless the condition holds."""
    if not condition:
        raise Discrepancy(sentence)


def require_equal(what: str, observed: object, expected: object) -> None:
    """Raise `Discrepancy` unless both are equal."""
    require(observed == expected, f"{what}:\n  observed {observed}\n  expected {expected}")
