"""The conversation itself, scene by scene. Every step says what it expects of the node."""

import urllib.error
import urllib.request

from conversation.cast import INTEREST_RATE, Cast
from conversation.peer import Peer, Unmet
from conversation.screen import Screen
from conversation.wire import (
    ROOT_CREDITOR_ID,
    SCHEDULED_FOR_DELETION,
    Message,
    configure_account,
    finalize_transfer,
    prepare_transfer,
    unsigned,
)

_FORTUNE = 10**12  # So much that its interest shows after a second.
_REMAINDER = 3
_NEGLIGIBLE = 10.0
_HUGE = 1e30  # The root account's own limit, besides the one in its configuration.
_FETCH_SECONDS = 10.0


class Story:
    """Each scene leaves the accounts in the state that the next one begins with."""

    def __init__(self, peer: Peer, cast: Cast, screen: Screen, fetch_api_url: str) -> None:
        self._peer = peer
        self._cast = cast
        self._screen = screen
        self._fetch_api_url = fetch_api_url
        self._last_request_id = 0

    def tell(self) -> None:
        self.a_currency_is_set_up()
        self.accounts_are_opened()
        self.money_is_issued()
        self.creditors_pay_each_other()
        self.a_payment_is_refused()
        self.a_payment_is_dismissed()
        self.an_account_is_scheduled_for_deletion()

    def tell_of_time(self) -> None:
        """What nobody asks for. It takes seconds at a hasty node, hours or days at others."""
        self.an_account_is_deleted()
        self.interest_is_paid()

    def a_currency_is_set_up(self) -> None:
        self._screen.scene("A currency", "The debtor configures its root account.")
        root = configure_account(
            self._cast.debtor_id,
            ROOT_CREDITOR_ID,
            config_data=self._cast.config_data,
            negligible_amount=_HUGE,
        )
        self._configure(root, principal=0)
        self._screen.scene("A mistake", "An ordinary account takes no configuration data.")
        wrong = configure_account(self._cast.debtor_id, self._cast.alice, config_data="gibberish")
        self._peer.send(wrong)
        self._peer.await_message(
            "the refusal of configuration data that no creditor may have",
            type="RejectedConfig",
            creditor_id=self._cast.alice,
            config_data="gibberish",
            rejection_code="INVALID_CONFIGURATION",
        )

    def accounts_are_opened(self) -> None:
        self._screen.scene("Four accounts", "Each soon has the currency's interest rate.")
        for creditor_id in (self._cast.alice, self._cast.bob, self._cast.carol, self._cast.dave):
            self.open_account(creditor_id)

    def open_account(self, creditor_id: int) -> None:
        self._peer.send(configure_account(self._cast.debtor_id, creditor_id))
        self.await_opened(creditor_id)

    def await_opened(self, creditor_id: int) -> None:
        self._peer.await_message(
            f"an account for {self._cast.names[creditor_id]}, with the currency's interest rate",
            lambda update: bool(update["debtor_info_iri"]),
            type="AccountUpdate",
            creditor_id=creditor_id,
            account_id=str(unsigned(creditor_id)),
            interest_rate=INTEREST_RATE,
            principal=0,
            config_flags=0,
        )

    def money_is_issued(self) -> None:
        self._screen.scene("Money", "The debtor pays, and so owes what the others then have.")
        self.pay(ROOT_CREDITOR_ID, self._cast.alice, 50_000, "for the roof")
        self.pay(ROOT_CREDITOR_ID, self._cast.bob, 20_000, "for bread")

    def creditors_pay_each_other(self) -> None:
        self._screen.scene("Payments", "Prepared, then committed; each side gets a notice.")
        self.pay(self._cast.alice, self._cast.bob, 12_500, "rent, November")
        self.pay(self._cast.bob, self._cast.carol, 700, "für ein Brot 🍞")
        self.pay(self._cast.carol, self._cast.alice, 50, "change")

    def pay(self, sender: int, recipient: int, amount: int, note: str) -> None:
        """A payment from the first message to the notice on the recipient's account."""
        prepared = self._prepare(sender, recipient, amount)
        self._peer.send(finalize_transfer(prepared, amount, note=note))
        self._await_end(prepared, amount)
        parties = {sender: -amount, recipient: amount}
        for creditor_id, acquired_amount in parties.items():
            if creditor_id != ROOT_CREDITOR_ID:
                self._peer.await_message(
                    f"the notice for {self._cast.names[creditor_id]} about {acquired_amount:+,}",
                    type="AccountTransfer",
                    creditor_id=creditor_id,
                    acquired_amount=acquired_amount,
                    sender=str(unsigned(sender)),
                    recipient=str(unsigned(recipient)),
                    transfer_note=note,
                )

    def a_payment_is_refused(self) -> None:
        self._screen.scene("A refusal", "Carol has not got that much.")
        request = self._request(self._cast.carol, self._cast.bob, 1_000_000)
        self._await_refusal(request, "INSUFFICIENT_AVAILABLE_AMOUNT")

    def a_payment_is_dismissed(self) -> None:
        self._screen.scene("A change of mind", "Bob prepares a payment, then dismisses it.")
        prepared = self._prepare(self._cast.bob, self._cast.alice, 3_000)
        self._peer.send(finalize_transfer(prepared, 0))
        self._await_end(prepared, 0)

    def an_account_is_scheduled_for_deletion(self) -> None:
        self._screen.scene("A farewell", "Dave's account is scheduled for deletion.")
        dave = self._cast.dave
        self.pay(ROOT_CREDITOR_ID, dave, _REMAINDER, "for the bus")
        self._expect_answer(dave, "reachable", 204)
        farewell = configure_account(
            self._cast.debtor_id,
            dave,
            seqnum=1,
            config_flags=SCHEDULED_FOR_DELETION,
            negligible_amount=_NEGLIGIBLE,
        )
        self._configure(farewell, principal=_REMAINDER)
        self._expect_answer(dave, "reachable", 404)
        self._expect_answer(ROOT_CREDITOR_ID, "config", 200, self._cast.config_data)
        request = self._request(self._cast.alice, dave, 10)
        self._await_refusal(request, "RECIPIENT_IS_UNREACHABLE")

    def an_account_is_deleted(self) -> None:
        self._screen.scene(
            "The end", "Soon, a scan comes by. What changed is announced, Dave's account deleted."
        )
        dave = self._cast.dave
        self._peer.await_message(
            "the notice that what Dave had left is written off",
            type="AccountTransfer",
            creditor_id=dave,
            coordinator_type="delete",
            acquired_amount=-_REMAINDER,
            recipient=str(ROOT_CREDITOR_ID),
            principal=0,
        )
        self._peer.await_message(
            "the last words about Dave's account",
            type="AccountUpdate",
            creditor_id=dave,
            principal=0,
            interest=0.0,
            config_flags=SCHEDULED_FOR_DELETION,
        )
        request = self._request(dave, self._cast.alice, 1)
        self._await_refusal(request, "SENDER_IS_UNREACHABLE")

    def interest_is_paid(self) -> None:
        self._screen.scene("Interest", "Carol gets a fortune, and then, without asking, more.")
        carol = self._cast.carol
        self.pay(ROOT_CREDITOR_ID, carol, _FORTUNE, "an inheritance")
        payment = self._peer.await_message(
            "interest on Carol's fortune",
            lambda transfer: bool(transfer["acquired_amount"] > 0),
            type="AccountTransfer",
            creditor_id=carol,
            coordinator_type="interest",
            sender=str(ROOT_CREDITOR_ID),
        )
        self._peer.await_message(
            "the announcement of what Carol has now",
            lambda update: bool(update["principal"] >= payment["principal"]),
            type="AccountUpdate",
            creditor_id=carol,
        )

    def new_request_id(self) -> int:
        self._last_request_id += 1
        return self._last_request_id

    def _configure(self, message: Message, *, principal: int) -> None:
        self._peer.send(message)
        self._peer.await_message(
            f"the confirmation that {self._cast.names[message['creditor_id']]} is configured",
            type="AccountUpdate",
            creditor_id=message["creditor_id"],
            config_data=message["config_data"],
            config_flags=message["config_flags"],
            last_config_seqnum=message["seqnum"],
            principal=principal,
        )

    def _request(self, sender: int, recipient: int, amount: int) -> Message:
        request = prepare_transfer(
            self._cast.debtor_id, sender, recipient, amount, request_id=self.new_request_id()
        )
        self._peer.send(request)
        return request

    def _prepare(self, sender: int, recipient: int, amount: int) -> Message:
        request = self._request(sender, recipient, amount)
        request_id = request["coordinator_request_id"]

        def is_refusal(message: Message) -> bool:
            refused_id = message.get("coordinator_request_id")
            return bool(message["type"] == "RejectedTransfer" and refused_id == request_id)

        return self._peer.await_message(
            f"{amount:,} locked on the account of {self._cast.names[sender]}",
            unless=is_refusal,
            type="PreparedTransfer",
            creditor_id=sender,
            coordinator_type=request["coordinator_type"],
            coordinator_id=request["coordinator_id"],
            coordinator_request_id=request_id,
            recipient=request["recipient"],
            locked_amount=amount,
        )

    def _await_refusal(self, request: Message, status_code: str) -> None:
        self._peer.await_message(
            f"the refusal of a payment with the code {status_code}",
            type="RejectedTransfer",
            creditor_id=request["creditor_id"],
            coordinator_type=request["coordinator_type"],
            coordinator_id=request["coordinator_id"],
            coordinator_request_id=request["coordinator_request_id"],
            status_code=status_code,
            total_locked_amount=0,
        )

    def _await_end(self, prepared: Message, amount: int) -> None:
        outcome = f"commits {amount:,}" if amount else "is dismissed"
        self._peer.await_message(
            f"the end of transfer {prepared['transfer_id']}, which {outcome}",
            type="FinalizedTransfer",
            creditor_id=prepared["creditor_id"],
            transfer_id=prepared["transfer_id"],
            coordinator_request_id=prepared["coordinator_request_id"],
            committed_amount=amount,
            status_code="OK",
            total_locked_amount=0,
        )

    def _expect_answer(
        self, creditor_id: int, question: str, status: int, content: str = ""
    ) -> None:
        """Other shards, and agents, ask the fetch API."""
        debtor = unsigned(self._cast.debtor_id)
        path = f"/accounts/{debtor}/{unsigned(creditor_id)}/{question}"
        found = _fetch(f"{self._fetch_api_url}{path}")
        if found != (status, content):
            raise Unmet(f"GET {path} was to answer {(status, content)}, but answers {found}.")
        words = {204: "yes", 404: "no", 200: "what the debtor has configured"}
        self._screen.fetched(path, f"{status}: {words[status]}")


def _fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=_FETCH_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
    except OSError as error:
        raise Unmet(f"GET {url} failed: {error}") from error
