#!/bin/sh
# Make the database cluster with what /setup/*.sql says, once; then run the server.
# Over the network everyone needs a password; inside the pod nobody does, so that `kubectl exec` works.
set -eu

if [ ! -f "$PGDATA/.complete" ]; then
  rm -rf "$PGDATA"
  initdb --no-sync --username=postgres --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  {
    echo "unix_socket_directories = '/tmp'"
    echo "listen_addresses = '*'"
    # What is thrown away need not reach the disk.
    echo "fsync = off"
  } >> "$PGDATA/postgresql.conf"
  pg_ctl --wait --options="-c listen_addresses=" start > /dev/null
  for file in /setup/*.sql; do
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --file "$file"
  done
  pg_ctl --wait --mode=fast stop > /dev/null
  touch "$PGDATA/.complete"
fi
exec postgres
