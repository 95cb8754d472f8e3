{{- /* The alerts, with what the values say in place of what begins with a dollar sign. */ -}}
{{- define "leveret.rules" -}}
{{- $rules := .Values.monitoring.rules -}}
{{- .Files.Get "rules/alerts.yaml"
  | replace "$namespace" .Release.Namespace
  | replace "$runbooks" $rules.runbookUrl
  | replace "$outboxLimit" (int64 .Values.producer.outboxLimit | toString)
  | replace "$longestWait" (int64 $rules.longestWaitSeconds | toString)
  | trim -}}
{{- end -}}
