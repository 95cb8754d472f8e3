{{- /* What things are called. Release `leveret` gives leveret-operator; any other release its own name in front. */ -}}

{{- define "leveret.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- /* Labels that select. Argument: (list $ component). */ -}}
{{- define "leveret.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: leveret
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- /* Labels of objects; not of pods, which a new version must not restart without need. Argument: (list $ component). */ -}}
{{- define "leveret.labels" -}}
{{ include "leveret.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- end -}}

{{- /* Argument: (list $ image), image being a component's {registry, repository, tag}. */ -}}
{{- define "leveret.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := default $root.Values.image.registry $image.registry -}}
{{- $tag := default (default $root.Chart.AppVersion $root.Values.image.tag) $image.tag -}}
{{ with $registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository }}:{{ $tag }}
{{- end -}}

{{- define "leveret.brokerSecret" -}}
{{ default (printf "%s-broker" (include "leveret.fullname" .)) .Values.rabbitmq.existingSecret }}
{{- end -}}

{{- define "leveret.databaseSecret" -}}
{{ default (printf "%s-database" (include "leveret.fullname" .)) .Values.postgresql.existingSecret }}
{{- end -}}

{{- define "leveret.tokenSecret" -}}
{{ default (printf "%s-token" (include "leveret.fullname" .)) .Values.auth.existingSecret }}
{{- end -}}

{{- define "leveret.prometheusUrl" -}}
{{- if .Values.prometheus.enabled -}}
http://{{ include "leveret.fullname" . }}-prometheus:9090
{{- else -}}
{{ .Values.prometheus.url }}
{{- end -}}
{{- end -}}
