#!/bin/sh
# Runs once, when PostgreSQL has made an empty database: creates the role that the node connects as.
# It is no superuser, and owns one schema, named after it, where all its tables go.
set -eu

psql --set=ON_ERROR_STOP=1 --set=role_password="${SWPT_ACCOUNTS_PASSWORD:-swpt_accounts}" \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
CREATE ROLE swpt_accounts LOGIN PASSWORD :'role_password';
CREATE SCHEMA AUTHORIZATION swpt_accounts;
SQL
