{{/* Front of all names: the release's where it says overspill already. */}}
{{- define "overspill.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "overspill" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-overspill" (.Release.Name | trunc 30 | trimSuffix "-") -}}
{{- end -}}
{{- end }}

{{/* Front of the names of cluster-wide objects: two releases in two namespaces must not meet. */}}
{{- define "overspill.clusterName" -}}
{{- $fullname := include "overspill.fullname" . -}}
{{- if eq .Release.Namespace (printf "%s-system" $fullname) -}}
{{- $fullname -}}
{{- else -}}
{{- printf "%s-%s" $fullname .Release.Namespace | trunc 60 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "overspill.pepperSecret" -}}
{{- .Values.keyPepper.existingSecret | default (printf "%s-key-pepper" (include "overspill.fullname" .)) -}}
{{- end }}

{{/* Labels that never change, for selectors. Arguments: root, component. */}}
{{- define "overspill.selectorLabels" -}}
app.kubernetes.io/name: overspill
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of an object. Arguments: root, component. */}}
{{- define "overspill.labels" -}}
{{ include "overspill.selectorLabels" . }}
app.kubernetes.io/part-of: overspill
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An image's name in images.registry, where that is set: another registry in front of it is replaced. Arguments:
root, name. */}}
{{- define "overspill.inRegistry" -}}
{{- $registry := .root.Values.images.registry | trimSuffix "/" -}}
{{- if $registry -}}
{{- printf "%s/%s" $registry (regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" .name "") -}}
{{- else -}}
{{- .name -}}
{{- end -}}
{{- end }}

{{/* An image's reference. Arguments: root, image. */}}
{{- define "overspill.image" -}}
{{- $name := include "overspill.inRegistry" (dict "root" .root "name" .image.repository) -}}
{{- if .image.digest -}}
{{ printf "%s@%s" $name .image.digest }}
{{- else -}}
{{ printf "%s:%s" $name (.image.tag | default .root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/* Annotations of every object, below metadata; nothing where there are none. */}}
{{- define "overspill.annotations" -}}
{{- with .Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where clients reach the gateway. */}}
{{- define "overspill.gatewayUrl" -}}
{{- if .Values.gateway.url -}}
{{- .Values.gateway.url | trimSuffix "/" -}}
{{- else -}}
{{- $port := int .Values.gateway.service.port -}}
{{- $scheme := ternary "https" "http" (ne .Values.gateway.tls.secretName "") -}}
{{- printf "%s://%s-gateway.%s.svc" $scheme (include "overspill.fullname" .) .Release.Namespace -}}
{{- if ne $port (ternary 443 80 (eq $scheme "https")) }}{{ printf ":%d" $port }}{{ end -}}
{{- end -}}
{{- end }}
