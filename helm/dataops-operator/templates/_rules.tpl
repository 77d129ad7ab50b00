{{/*
What the operator may do where it watches. Every verb is one that it uses; there is no wildcard and nothing on
Secrets, so a step's credentials stay between the step's pod and whoever made them.
*/}}
{{- define "dataops.operatorRules" -}}
- apiGroups: [dataops.dev]
  resources: [environments, steptemplates, pipelines, pipelineruns]
  verbs: [get, list, watch]
- apiGroups: [dataops.dev]
  resources: [environments/status, steptemplates/status, pipelines/status, pipelineruns/status]
  verbs: [patch]
# Its finalizer, and the end of an Environment whose time is over; with it the runs under way end. Finished runs go as
# their pipeline's history has it. It makes runs that a step of another run asks for, and cancels and suspends those with
# it. The policy <fullname>-guard holds it to that.
- apiGroups: [dataops.dev]
  resources: [environments]
  verbs: [patch, delete]
- apiGroups: [dataops.dev]
  resources: [pipelineruns]
  verbs: [create, patch, delete]
# One Job for an attempt of a step; its pods tell how the attempt ended.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Deleted where a run is cancelled with spec.cancel: Immediate; what else is ended in the middle gets a deadline that is
# over (spec.activeDeadlineSeconds), so that its log stays, and one that several steps share is kept from going on by a
# label that is taken from it. The policy <fullname>-guard holds changes to these.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
# Revisions of pipelines and environments: their data is immutable, their number follows what is active, and what nobody
# needs goes.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create, patch, delete]
# Told on transitions; read to say why a Job has no pod.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
# A run's workspace, the account without rights that its steps run as, and what an Environment is made of. The policy
# <fullname>-guard of the chart holds changes and deletes to what carries an Environment's label.
- apiGroups: [""]
  resources: [serviceaccounts, persistentvolumeclaims, resourcequotas, limitranges]
  verbs: [get, list, watch, create, patch, delete]
# The items of an Indexed Job. Read to tell one that an earlier try made from another's.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, list, watch, create, patch, delete]
# It hands out the chart's own roles and no other.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: {{ include "dataops.bound" . | fromYamlArray | toJson }}
  verbs: [bind]
{{- end -}}

{{/* Execution namespaces, where the whole cluster is watched; without a pattern of names none is ever made. */}}
{{- define "dataops.namespaceRules" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: {{ ternary "[get, list, watch, patch, create, delete]" "[get, list, watch, patch]" (ne .Values.environments.namespacePattern "") }}
{{- end -}}

{{/* The roles that an Environment binds in its execution namespace. */}}
{{- define "dataops.bound" -}}
[dataops-view, dataops-run, dataops-promote, dataops-edit
{{- if and (or .Values.vault.servers .Values.stepObjects) (not .Values.watch.namespaces) }}, {{ include "dataops.fullname" . }}-runs{{ end }}
{{- if and .Values.stepObjects (not .Values.watch.namespaces) }}, {{ include "dataops.fullname" . }}-steps{{ end }}]
{{- end -}}

{{/*
What runs with secrets need of the operator: a token of the runner to log in to Vault with, and a Secret of a random name,
made and removed unread; and those that look at objects: such a token. Given in execution namespaces alone.
*/}}
{{- define "dataops.runsRules" -}}
- apiGroups: [""]
  resources: [serviceaccounts/token]
  resourceNames: [{{ .Values.operator.runnerServiceAccount | quote }}]
  verbs: [create]
{{- if .Values.vault.servers }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete]
{{- end }}
{{- end -}}

{{/* What the runner, and so whatever a step runs, may do with other objects: nothing that is not listed. */}}
{{- define "dataops.stepsRules" -}}
{{- range .Values.stepObjects }}
{{- $parts := splitList "/" .apiVersion }}
- apiGroups: [{{ ternary (first $parts) "" (gt (len $parts) 1) | quote }}]
  resources: [{{ .resource | quote }}]
  verbs: {{ ternary "[get, create, delete]" "[get]" (eq (default "Read" .access) "Apply") }}
{{- end }}
{{- end -}}

{{/* What everybody with a role reads: no status holds a secret or a masked value. */}}
{{- define "dataops.readRules" -}}
- apiGroups: [dataops.dev]
  resources: [environments, steptemplates, pipelines, pipelineruns, promotions]
  verbs: [get, list, watch]
- apiGroups: [dataops.dev]
  resources: [environments/status, steptemplates/status, pipelines/status, pipelineruns/status]
  verbs: [get]
{{- end -}}
