{{- /* The alerts, with what the values say in place of what begins with a dollar sign. */ -}}
{{- define "leveret.rules" -}}
{{- $rules := dig "monitoring" "rules" dict .Values.AsMap -}}
{{- .Files.Get "rules/alerts.yaml"
  | replace "$namespace" .Release.Namespace
  | replace "$runbooks" (default "https://leveret.dev/docs/runbooks" $rules.runbookUrl)
  | replace "$outboxLimit" (include "leveret.outboxLimit" .)
  | replace "$longestWait" (int64 (default 900 $rules.longestWaitSeconds) | toString)
  | trim -}}
{{- end -}}
