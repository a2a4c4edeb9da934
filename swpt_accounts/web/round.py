"""Questions that one caller waits for together."""

from collections.abc import Mapping
from threading import Event

from swpt_accounts.web.answers import Answer, Question


class Round:
    """Questions of one caller, who waits until all are settled: answered, or given up for now.

    `questions` gives the group of each. `in_vain` has a question for each
    silent group, which is not asked, but is good for a probe.
    """

    def __init__(self, questions: Mapping[Question, int], in_vain: Mapping[int, Question]) -> None:
        self.questions = questions
        self.in_vain = in_vain
        self._answers: dict[Question, Answer] = {}
        self._unsettled = set(questions)
        self._all_settled = Event()
        self._is_over = False

    def wait(self, seconds: float) -> dict[Question, Answer]:
        """Return the answers that have come when all is settled, or the time is over."""
        if self.questions:
            self._all_settled.wait(seconds)
        self._is_over = True
        return self._answers.copy()

    def answer(self, question: Question, answer: Answer) -> bool:
        """Take an answer; tell whether it is in time."""
        self._answers[question] = answer
        # Looked at afterwards: what `wait` did not copy is late.
        is_in_time = not self._is_over
        self.settle(question)
        return is_in_time

    def settle(self, question: Question) -> None:
        """Let the caller wait no longer for an answer to the question."""
        self._unsettled.discard(question)
        if not self._unsettled:
            self._all_settled.set()
