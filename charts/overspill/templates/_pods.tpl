{{/* The cleanest a pod can be: fits the "restricted" pod security standard. */}}
{{- define "overspill.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
fsGroup: 65534
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "overspill.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
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
- name: OVERSPILL_PROFILES
  value: /etc/overspill/profiles.yaml
- name: OVERSPILL_GATEWAY_URL
  value: {{ include "overspill.gatewayUrl" . | quote }}
- name: OVERSPILL_GATEWAY_ADMIN_SERVICE
  value: {{ include "overspill.fullname" . }}-gateway-admin
- name: OVERSPILL_KEY_PEPPER_SECRET    # for overspill keys create, run in this pod
  value: {{ include "overspill.pepperSecret" . }}
{{- end }}

{{/* Exists only while helm uninstall runs. */}}
{{- define "overspill.cleanupHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
