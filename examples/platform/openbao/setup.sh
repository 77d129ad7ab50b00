# What an administrator of Vault does once, for the operator and for one team. Run each time that the server starts,
# since it forgets everything.

# Pods log in with tokens of their ServiceAccount; which audience counts, each role says.
bao auth enable kubernetes
bao write auth/kubernetes/config kubernetes_host=https://kubernetes.default.svc

# The operator renews and takes back what runs were given, by accessor and lease id. It reads nothing.
bao policy write dataops-operator - <<'POLICY'
path "auth/token/renew-accessor"  { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "sys/leases/renew"           { capabilities = ["update"] }
path "sys/leases/revoke"          { capabilities = ["update"] }
path "sys/leases/lookup"          { capabilities = ["update"] }
POLICY
bao write auth/kubernetes/role/dataops-operator audience=vault \
  bound_service_account_names=dataops-operator bound_service_account_namespaces=dataops-system \
  token_policies=dataops-operator token_ttl=1h

# Logins to PostgreSQL, made for one run each. The group owns what a login makes, so that a login can go without it.
bao secrets enable database
bao write database/config/flights plugin_name=postgresql-database-plugin verify_connection=false \
  connection_url='postgresql://{{username}}:{{password}}@postgres.postgres:5432/flights' \
  username=openbao password="$POSTGRES_PASSWORD" allowed_roles='flights-loader,flights-reader,flights-branch'
for group in loader reader branch; do
  bao write "database/roles/flights-$group" db_name=flights default_ttl=15m max_ttl=4h \
    creation_statements="CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE flights_$group;
      ALTER ROLE \"{{name}}\" SET role TO flights_$group" \
    revocation_statements="SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}';
      DROP ROLE IF EXISTS \"{{name}}\""
done

# What the example signs its reports with.
bao kv put -mount=secret flights/signing key="$(head -c 32 /dev/urandom | base64)"

# One role for production, one for branches: these read production's tables and make schemas of their own.
bao policy write flights - <<'POLICY'
path "secret/data/flights/*"          { capabilities = ["read"] }
path "database/creds/flights-loader"  { capabilities = ["read"] }
POLICY
bao policy write flights-branch - <<'POLICY'
path "secret/data/flights/*"          { capabilities = ["read"] }
path "database/creds/flights-branch"  { capabilities = ["read"] }
path "database/creds/flights-reader"  { capabilities = ["read"] }
POLICY
bao write auth/kubernetes/role/flights audience=vault token_policies=flights token_ttl=2m \
  bound_service_account_names=dataops-runner bound_service_account_namespaces=analytics-prod
bao write auth/kubernetes/role/flights-branch audience=vault token_policies=flights-branch token_ttl=2m \
  bound_service_account_names=dataops-runner bound_service_account_namespaces='analytics-*'
