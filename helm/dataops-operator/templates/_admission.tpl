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

{{/* Requests that change no decision are not looked at: nearly all of them. */}}
{{- define "dataops.decisionsChange" -}}
- name: decisions-change
  expression: >-
    object.?spec.?approvals.orValue([]) != (oldObject == null ? [] : oldObject.?spec.?approvals.orValue([]))
{{- end -}}

{{/* What the policies of approvals work with: the decisions that are new or another, and the steps that ask. */}}
{{- define "dataops.decisionVariables" -}}
- name: decisions
  expression: object.?spec.?approvals.orValue([])
- name: before
  expression: "oldObject == null ? [] : oldObject.?spec.?approvals.orValue([])"
- name: fresh
  expression: variables.decisions.filter(d, !variables.before.exists(b, b == d))
- name: asking
  expression: >-
    oldObject == null ? [] : oldObject.?status.?steps.orValue([]).filter(s,
    s.phase == 'Waiting' && s.?reason.orValue('') in ['Approval', 'ApprovalForbidden'])
- name: groups
  expression: "has(request.userInfo.groups) ? request.userInfo.groups : []"
{{- end -}}

{{/* An object begins without managedFields; it is made in any case. */}}
{{- define "dataops.untracked" -}}
failurePolicy: Ignore
reinvocationPolicy: Never
mutations:
- patchType: JSONPatch
  jsonPatch:
    expression: >-
      has(object.metadata.managedFields) ? [JSONPatch{op: 'remove', path: '/metadata/managedFields'}] : []
{{- end -}}

{{/*
What puts a policy in force, under the policy's own name: a mutating one of that version and kind, or one that denies;
where the release watches, or everywhere.
*/}}
{{- define "dataops.binding" -}}
apiVersion: admissionregistration.k8s.io/{{ .version | default "v1" }}
kind: {{ .kind | default "ValidatingAdmissionPolicy" }}Binding
metadata:
  {{- include "dataops.metadata" . | nindent 2 }}
spec:
  policyName: {{ .name | quote }}
  {{- if .denies }}
  validationActions: [Deny]
  {{- end }}
  {{- if not .everywhere }}
  {{- include "dataops.whereWatched" .ctx | nindent 2 }}
  {{- end }}
{{- end -}}
