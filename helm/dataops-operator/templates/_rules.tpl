{{/*
What the operator may do where it watches. Every verb is one that it uses; there is no wildcard and nothing on
Secrets, so a step's credentials stay between the step's pod and whoever made them.
*/}}
{{- define "dataops.operatorRules" -}}
- apiGroups: [dataops.dev]
  resources: [environments, pipelines, pipelineruns]
  verbs: [get, list, watch]
- apiGroups: [dataops.dev]
  resources: [pipelines/status, pipelineruns/status]
  verbs: [patch]
# One Job for an attempt of a step; its pods tell how the attempt ended.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# A run's workspace, and the account without rights that its steps run as.
- apiGroups: [""]
  resources: [persistentvolumeclaims, serviceaccounts]
  verbs: [get, create]
# Revisions of pipelines: immutable, so made and never changed.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create]
# Told on transitions; read to say why a Job has no pod.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- end -}}
