{{/* A component's podSecurityContext. Where runAsUser is taken away, the groups that belong to it by default go as well:
who chooses the user (OpenShift) chooses them too. Argument: the context. */}}
{{- define "overspill.podSecurity" -}}
{{- $context := omit . "runAsUser" "runAsGroup" "fsGroup" -}}
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" -}}
{{- $value := index $ $name -}}
{{- if and (not (kindIs "invalid" $value)) (or (not (kindIs "invalid" $.runAsUser)) (ne (int64 $value) 65534)) -}}
{{- $_ := set $context $name (int64 $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $context -}}
{{- end }}

{{/* Certificates that the process trusts. Argument: values. */}}
{{- define "overspill.caEnv" -}}
{{- if or .caBundle.configMap .caBundle.secretName }}
- name: SSL_CERT_FILE
  value: /etc/overspill-ca/{{ .caBundle.key }}
{{- end }}
{{- end }}

{{- define "overspill.caMount" -}}
{{- if or .caBundle.configMap .caBundle.secretName }}
- {name: ca-bundle, mountPath: /etc/overspill-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "overspill.caVolume" -}}
{{- if .caBundle.configMap }}
- name: ca-bundle
  configMap: {name: {{ .caBundle.configMap }}}
{{- else if .caBundle.secretName }}
- name: ca-bundle
  secret: {secretName: {{ .caBundle.secretName }}}
{{- end }}
{{- end }}

{{/* Where a pod may run, from a component's values. */}}
{{- define "overspill.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Who and where the process is. */}}
{{- define "overspill.identityEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end }}

{{/* What the operator must know. */}}
{{- define "overspill.operatorEnv" -}}
{{ include "overspill.identityEnv" . }}
- name: OVERSPILL_LOG_LEVEL
  value: {{ .Values.operator.logLevel }}
- name: OVERSPILL_DEPLOYMENT
  value: {{ include "overspill.fullname" . }}-operator
- name: OVERSPILL_PROFILES
  value: /etc/overspill/profiles.yaml
- name: OVERSPILL_GATEWAY_URL
  value: {{ include "overspill.gatewayUrl" . | quote }}
- name: OVERSPILL_GATEWAY_ADMIN_SERVICE
  value: {{ include "overspill.fullname" . }}-gateway-admin
- name: OVERSPILL_KEY_PEPPER_SECRET    # for overspill keys create, run in this pod
  value: {{ include "overspill.pepperSecret" . }}
{{- if not .Values.keyPepper.existingSecret }}
- name: OVERSPILL_MAKE_KEY_PEPPER
  value: {{ include "overspill.pepperSecret" . }}
{{- end }}
{{ include "overspill.watchEnv" . }}
{{- with .Values.operator.demandFrom }}
{{- if .prometheusURL }}
- name: OVERSPILL_PROMETHEUS_URL
  value: {{ .prometheusURL | quote }}
- name: OVERSPILL_PROMETHEUS_MATCHERS
  value: {{ .matchers | default (printf "namespace=%q" $.Release.Namespace) | quote }}
{{- end }}
{{- end }}
- name: OVERSPILL_ENGINE_NETWORK_POLICIES
  value: {{ .Values.networkPolicy.engines.enabled | quote }}
- name: OVERSPILL_ENGINE_METRICS_FROM
  value: {{ .Values.networkPolicy.engines.from | toJson | quote }}
{{- end }}

{{/* Namespaces of the release; empty: all. */}}
{{- define "overspill.watchEnv" -}}
- name: OVERSPILL_WATCH_NAMESPACES
  value: {{ join "," .Values.operator.watchNamespaces | quote }}
{{- end }}

{{/* Exists only while helm uninstall runs. */}}
{{- define "overspill.cleanupHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
