{{/* The name of what the chart makes: short enough that suffixes stay within 63 characters. */}}
{{- define "dataops.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select pods of one component; they never change over a release's life. Takes ctx, component. */}}
{{- define "dataops.selectorLabels" -}}
app.kubernetes.io/name: dataops-operator
app.kubernetes.io/instance: {{ .ctx.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object. Takes ctx, component, and optionally labels; the standard ones win over a user's. */}}
{{- define "dataops.labels" -}}
{{- $standard := fromYaml (include "dataops.selectorLabels" .) -}}
{{- $_ := set $standard "app.kubernetes.io/version" .ctx.Chart.AppVersion -}}
{{- $_ := set $standard "app.kubernetes.io/managed-by" .ctx.Release.Service -}}
{{- $_ := set $standard "helm.sh/chart" (printf "%s-%s" .ctx.Chart.Name .ctx.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge dict $standard (.labels | default dict) .ctx.Values.commonLabels) -}}
{{- end -}}

{{/* The metadata of an object. Takes ctx, component, name, and optionally namespace, labels, annotations. */}}
{{- define "dataops.metadata" -}}
name: {{ .name | quote }}
{{- with .namespace }}
namespace: {{ . | quote }}
{{- end }}
labels:
  {{- include "dataops.labels" . | nindent 2 }}
{{- with merge dict (.annotations | default dict) .ctx.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "dataops.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "dataops.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "dataops.image" -}}
{{- $image := .Values.image -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* What the API server calls the operator. */}}
{{- define "dataops.userName" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "dataops.serviceAccountName" .) -}}
{{- end -}}

{{/* Pod Security "restricted", rule by rule, for the pod and for its container. */}}
{{- define "dataops.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "dataops.containerSecurityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where `helm test` runs its pipeline: it has to be a namespace that the operator watches. */}}
{{- define "dataops.testNamespace" -}}
{{- $watched := .Values.watch.namespaces -}}
{{- if .Values.test.namespace -}}
{{- if and $watched (not (has .Values.test.namespace $watched)) -}}
{{- fail (printf "test.namespace is %s, which is not among watch.namespaces (%s): the operator would never see the test's run. Name a watched namespace or leave test.namespace empty." .Values.test.namespace (join ", " $watched)) -}}
{{- end -}}
{{- .Values.test.namespace -}}
{{- else if or (not $watched) (has .Release.Namespace $watched) -}}
{{- .Release.Namespace -}}
{{- else -}}
{{- first $watched -}}
{{- end -}}
{{- end -}}
