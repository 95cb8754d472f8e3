{{- /* What all pods have in common. */ -}}

{{- /* Metadata of a pod template. Without the annotation about volumes the cluster autoscaler keeps a node for the sake of an
       emptyDir; podAnnotations may say otherwise. Argument: (list $ component values annotations emptyDirs). */ -}}
{{- define "leveret.podMetadata" -}}
{{- $values := index . 2 -}}
{{- $evictable := dict "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes" (index . 4) -}}
labels:
  {{- include "leveret.selector" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (index . 3) (default dict $values.podAnnotations) $evictable }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Where a pod runs, as whom, and how its images are pulled. Without enableServiceLinks: false the Services of the namespace
       would fill the environment with LEVERET_… and RABBITMQ_… variables that mean something else.
       Argument: (list $ component values). */ -}}
{{- define "leveret.podSettings" -}}
serviceAccountName: {{ include "leveret.fullname" (index . 0) }}-{{ index . 1 }}
enableServiceLinks: false
{{- with (index . 0).Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with index . 2 }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
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
{{- end }}
{{- end -}}

{{- /* Who a pod is; no token by itself. Argument: (list $ component). */ -}}
{{- define "leveret.serviceAccount" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "leveret.fullname" $root }}-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "leveret.labels" . | nindent 4 }}
  {{- with dig "serviceAccount" "annotations" dict (index $root.Values (index . 1)) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
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
