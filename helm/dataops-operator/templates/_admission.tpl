{{/*
What both identity policies work with: who must stand as creator and as last changer, empty for nobody, and whether this
request changes the spec. Comparing with the old object makes every other write, such as the operator's on a finalizer,
keep what stands.
*/}}
{{- define "dataops.identityVariables" -}}
- name: changed
  expression: >-
    oldObject == null ? request.resource.resource == 'environments'
    : object.?spec.orValue({}) != oldObject.?spec.orValue({})
- name: creator
  expression: >-
    oldObject == null ? request.userInfo.username
    : oldObject.metadata.?annotations[?'dataops.dev/created-by'].orValue('')
- name: changer
  expression: >-
    variables.changed ? request.userInfo.username
    : oldObject == null ? ''
    : oldObject.metadata.?annotations[?'dataops.dev/changed-by'].orValue('')
{{- end -}}

{{/* A release that watches some namespaces judges nothing elsewhere. */}}
{{- define "dataops.whereWatched" -}}
{{- with .Values.watch.namespaces -}}
matchResources:
  namespaceSelector:
    matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values:
      {{- toYaml . | nindent 6 }}
{{- end -}}
{{- end -}}
