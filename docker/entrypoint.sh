#!/bin/sh
# Maps the commands of the container to those of this program. Anything that is
# not one of them is executed as it stands. Works outside a container too.
set -eu

# The first process of a container gets no signal that it does not handle. So signals
# to stop are kept waiting until the program has begun, and asks for them.
keep_signals=
if [ $$ -eq 1 ]; then
    trap 'exit 1' TERM INT HUP
    keep_signals='env --block-signal=TERM --block-signal=INT --block-signal=HUP'
fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if ! command -v swpt_accounts >/dev/null; then
    PATH=$here/../.venv/bin:$PATH
    export PATH
fi

# Prints the address of the default route's gateway: the machine that runs the
# container. The kernel's table is read, because `ip` may be missing.
gateway() {
    while read -r _ destination address _; do
        if [ "$destination" = 00000000 ] && [ "$address" != 00000000 ]; then
            # Four bytes in hexadecimal, the last one first.
            last=${address%??????}
            address=${address#??}
            third=${address%????}
            address=${address#??}
            printf '%d.%d.%d.%d\n' "0x${address#??}" "0x${address%??}" "0x$third" "0x$last"
            return
        fi
    done </proc/net/route
}

# In a container, localhost is not the machine on which a developer's servers run.
substitute_localhost() {
    if ! host=$(gateway 2>/dev/null) || [ -z "$host" ]; then
        echo "SUBSTITUTE_LOCALHOST_IN_VARS: there is no default route; nothing is replaced." >&2
        return
    fi
    for name in $SUBSTITUTE_LOCALHOST_IN_VARS; do
        if value=$(printenv "$name") && [ -n "$value" ]; then
            value=$(printf '%s\n' "$value" | sed \
                -e "s|//localhost\([:/?,]\)|//$host\1|" -e "s|//localhost\$|//$host|" \
                -e "s|@localhost\([:/?,]\)|@$host\1|" -e "s|@localhost\$|@$host|")
            export "$name=$value"
        fi
    done
}

if [ -n "${SUBSTITUTE_LOCALHOST_IN_VARS:-}" ]; then
    substitute_localhost
fi

case ${1:-all} in
    all)
        exec $keep_signals swpt_accounts all --configuration "$here/supervisord.conf"
        ;;
    webserver)
        exec $keep_signals gunicorn --config "$here/gunicorn.conf.py" swpt_accounts.asgi:app
        ;;
    configure | await_migrations | settings | dead_letters | parked_messages | waiting_messages \
        | consume_messages | consume_chore_messages \
        | flush_all | flush_rejected_configs | flush_rejected_transfers \
        | flush_prepared_transfers | flush_finalized_transfers | flush_account_updates \
        | flush_account_purges | flush_account_transfers | flush_pending_balance_changes \
        | process_balance_changes | process_transfer_requests | process_finalization_requests \
        | scan_accounts | scan_prepared_transfers | scan_registered_balance_changes \
        | subscribe | unsubscribe | delete_queue | verify_shard_content)
        exec $keep_signals swpt_accounts "$@"
        ;;
    test | develop-run-flask)
        echo "$1: for development there are script/test and script/server instead." >&2
        exit 2
        ;;
    *)
        exec "$@"
        ;;
esac
