{{- /* What all pods have in common. */ -}}

{{- /* Metadata of a pod template. Argument: (list $ component values annotations). */ -}}
{{- define "leveret.podMetadata" -}}
{{- $values := index . 2 -}}
labels:
  {{- include "leveret.selector" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (index . 3) $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Where a pod runs and as whom. Argument: a component's values. Without enableServiceLinks: false the Services of the
       namespace would fill the environment with LEVERET_… and RABBITMQ_… variables that mean something else. */ -}}
{{- define "leveret.podSettings" -}}
enableServiceLinks: false
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Argument: (list $ component values). */ -}}
{{- define "leveret.containerSettings" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
image: {{ include "leveret.image" (list $root $values.image) | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
{{- with $values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Environment of Leveret's own processes. */ -}}
{{- define "leveret.environment" -}}
- {name: LEVERET_LOG, value: json}
- name: LEVERET_POD
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: LEVERET_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end -}}
