-- What an administrator of PostgreSQL does once: a database, groups, and a login for Vault that makes logins in them.
\set password `cat /login/password`

CREATE DATABASE flights;
CREATE ROLE flights_loader NOLOGIN;
CREATE ROLE flights_reader NOLOGIN;
CREATE ROLE flights_branch NOLOGIN;

-- No superuser: it makes logins, puts them into these groups, and ends their sessions.
CREATE ROLE openbao LOGIN PASSWORD :'password' CREATEROLE;
GRANT flights_loader, flights_reader, flights_branch TO openbao WITH ADMIN OPTION;
GRANT pg_signal_backend TO openbao;

\connect flights
REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON DATABASE flights FROM PUBLIC;
GRANT CONNECT ON DATABASE flights TO openbao, flights_loader, flights_reader, flights_branch;

-- Production's schema: one group writes it, another reads it.
CREATE SCHEMA prod AUTHORIZATION flights_loader;
GRANT USAGE ON SCHEMA prod TO flights_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE flights_loader IN SCHEMA prod GRANT SELECT ON TABLES TO flights_reader;

-- Branches make schemas of their own, and read production's.
GRANT CREATE ON DATABASE flights TO flights_branch;
GRANT flights_reader TO flights_branch;
