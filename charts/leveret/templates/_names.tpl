{{- /* What things are called. Release `leveret` gives leveret-operator; any other release its own name in front. Of a name that is
       cut a hash tells it from another one that begins so; a release of before there were hashes keeps the names that it has.
       fullnameOverride goes before all that. */ -}}

{{- define "leveret.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) -}}
{{- $name = printf "%s-%s" $name .Chart.Name -}}
{{- end -}}
{{- $cut := default (trunc 40 $name | trimSuffix "-") .Values.fullnameOverride -}}
{{- if and (gt (len $name) 40) (not .Values.fullnameOverride) -}}
{{- $there := lookup "apps/v1" "Deployment" .Release.Namespace (printf "%s-operator" $cut) -}}
{{- if ne (dig "metadata" "labels" "app.kubernetes.io/instance" "" $there) .Release.Name -}}
{{- $cut = printf "%s-%s" (trunc 33 $name | trimSuffix "-") (sha256sum $name | trunc 6) -}}
{{- end -}}
{{- end -}}
{{ $cut }}
{{- end -}}

{{- /* Labels that select. Argument: (list $ component). */ -}}
{{- define "leveret.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: leveret
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
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

{{- define "leveret.installationSecret" -}}
{{ default (printf "%s-installation" (include "leveret.fullname" .)) (.Values.installation).existingSecret }}
{{- end -}}

{{- /* The Secrets that are made in the cluster, as JSON: what the operator is told of each. It draws the rest, where the Secret is absent. */ -}}
{{- define "leveret.ownSecrets" -}}
{{- $name := include "leveret.fullname" . -}}
{{- $own := dict -}}
{{- if not .Values.rabbitmq.existingSecret -}}
{{- $_ := set $own "broker" (dict "name" (include "leveret.brokerSecret" .) "given" (dict
  "host" (printf "%s-rabbitmq" $name) "port" "5672" "username" "leveret" "vhost" "/")) -}}
{{- end -}}
{{- if not .Values.postgresql.existingSecret -}}
{{- $_ := set $own "database" (dict "name" (include "leveret.databaseSecret" .) "given" (dict
  "host" (printf "%s-postgresql" $name) "port" "5432" "username" "leveret" "dbname" "leveret")) -}}
{{- end -}}
{{- if not .Values.auth.existingSecret -}}
{{- $_ := set $own "token" (dict "name" (include "leveret.tokenSecret" .)) -}}
{{- end -}}
{{- if not (.Values.installation).existingSecret -}}
{{- $_ := set $own "installation" (dict "name" (include "leveret.installationSecret" .)) -}}
{{- end -}}
{{- toJson $own -}}
{{- end -}}

{{- define "leveret.outboxLimit" -}}
{{ default 1000000 .Values.producer.outboxLimit | int64 }}
{{- end -}}

{{- define "leveret.prometheusUrl" -}}
{{- if .Values.prometheus.enabled -}}
http://{{ include "leveret.fullname" . }}-prometheus:9090
{{- else -}}
{{ .Values.prometheus.url }}
{{- end -}}
{{- end -}}

{{- /* An amount of memory in bytes. RabbitMQ reads fewer forms than Kubernetes, no fraction for one, and what it can't read it ignores: then
       all of the node's memory is its own. Argument: (list $whose $amount). */ -}}
{{- define "leveret.bytes" -}}
{{- $amount := index . 1 -}}
{{- if kindIs "string" $amount -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?" $amount -}}
{{- $unit := trimPrefix $number $amount -}}
{{- if not (and $number (hasKey $units $unit)) -}}
{{- fail (printf "%s is %s, which is no amount of memory that RabbitMQ can be told: write a number of bytes, or one with k, M, G, T, Ki, Mi, Gi or Ti, such as 1.5Gi." (index . 0) $amount) -}}
{{- end -}}
{{- mulf $number (get $units $unit) | int64 -}}
{{- else -}}
{{- int64 $amount -}}
{{- end -}}
{{- end -}}
