{{/*
The Vault servers as the operator reads them, as YAML: defaults filled in, and refused where two share a name. A CA comes
as the path of a file beside this one.
*/}}
{{- define "dataops.vaultServers" -}}
{{- $servers := list -}}
{{- $names := list -}}
{{- range .Values.vault.servers -}}
{{- if has .name $names -}}
{{- fail (printf "vault.servers has two servers named %s: Environments could not tell them apart." .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $auth := .auth | default dict -}}
{{- $method := $auth.method | default "kubernetes" -}}
{{- $server := dict "name" .name "address" .address "operatorRole" (.operatorRole | default "dataops-operator") "timeout" (.timeout | default "10s") "renewFor" (.renewFor | default "20m") "peers" (.peers | default list) "auth" (dict "method" $method "mount" ($auth.mount | default $method) "audience" ($auth.audience | default "vault")) -}}
{{- with .namespace }}{{ $_ := set $server "namespace" . }}{{ end -}}
{{- if or .caBundle .caConfigMap }}{{ $_ := set $server "ca" (printf "%s/ca/%s.pem" (include "dataops.vaultPath" $) .name) }}{{ end -}}
{{- $servers = append $servers $server -}}
{{- end -}}
{{- toYaml (dict "servers" $servers) -}}
{{- end -}}

{{- define "dataops.vaultPath" -}}
/etc/dataops/vault
{{- end -}}

{{- define "dataops.vaultTokens" -}}
/var/run/secrets/dataops.dev/vault
{{- end -}}

{{/* The port of a server's address. */}}
{{- define "dataops.vaultPort" -}}
{{- $address := urlParse . -}}
{{- if regexMatch ":[0-9]+$" $address.host -}}
{{- regexFind "[0-9]+$" $address.host -}}
{{- else -}}
{{- ternary "443" "80" (eq $address.scheme "https") -}}
{{- end -}}
{{- end -}}
