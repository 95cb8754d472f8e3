{{- /* Values that contradict each other, each refused with a sentence that says what to change. */ -}}

{{- define "leveret.checks" -}}
{{- $values := .Values -}}
{{- if not (or $values.rabbitmq.enabled $values.rabbitmq.existingSecret) -}}
{{- fail "rabbitmq.enabled is false, so Leveret needs a broker of yours: set rabbitmq.existingSecret to a Secret with the keys host, port, username and password, and vhost unless it is /." -}}
{{- end -}}
{{- if not (or $values.postgresql.enabled $values.postgresql.existingSecret) -}}
{{- fail "postgresql.enabled is false, so Leveret needs a PostgreSQL of yours: set postgresql.existingSecret to a Secret with the keys host, port, username, password and dbname." -}}
{{- end -}}
{{- $connections := add (mul 16 (add1 (int $values.producer.replicas))) 3 -}}
{{- if and $values.postgresql.enabled (lt (int $values.postgresql.maxConnections) (int $connections)) -}}
{{- fail (printf "producer.replicas is %d, and so many producers and the one more of a rolling update may open %d connections, 3 for an administrator included, where postgresql.maxConnections is %d: raise it to at least %d, or run fewer producers." (int $values.producer.replicas) $connections (int $values.postgresql.maxConnections) $connections) -}}
{{- end -}}
{{- if and $values.prometheus.enabled $values.prometheus.url -}}
{{- fail "prometheus.url names a Prometheus of yours and prometheus.enabled installs another: set prometheus.enabled to false, or leave prometheus.url empty." -}}
{{- end -}}
{{- if and $values.monitoring.podMonitor.enabled $values.monitoring.serviceMonitor.enabled -}}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor scrape the same pods, and sums would count everything twice: enable only one of them." -}}
{{- end -}}
{{- if and $values.networkPolicy.enabled (or $values.prometheus.url $values.monitoring.podMonitor.enabled $values.monitoring.serviceMonitor.enabled) (not $values.networkPolicy.from.metrics) -}}
{{- fail "networkPolicy.enabled lets only the chart's own Prometheus scrape, and the values speak of one of yours: name its pods in networkPolicy.from.metrics." -}}
{{- end -}}
{{- if and $values.rabbitmq.enabled (or (ne (int $values.rabbitmq.managementPort) 15672) (ne (int $values.rabbitmq.metricsPort) 15692)) -}}
{{- fail "rabbitmq.managementPort and rabbitmq.metricsPort are for a broker of yours; the chart's own listens on 15672 and 15692: remove them, or set rabbitmq.enabled to false." -}}
{{- end -}}
{{- $kept := $values.producer.retention -}}
{{- if gt (trimSuffix "h" $kept.payloads | int) (trimSuffix "h" $kept.jobs | int) -}}
{{- fail (printf "producer.retention.payloads is %s and producer.retention.jobs is %s: a payload goes with its job at the latest; lower the first or raise the second." $kept.payloads $kept.jobs) -}}
{{- end -}}
{{- range $name, $hours := $kept -}}
{{- if gt (trimSuffix "h" $hours | int) 8784 -}}
{{- fail (printf "producer.retention.%s is %s, and can be 8784h at most: there is a partition for each day." $name $hours) -}}
{{- end -}}
{{- end -}}
{{- range $component := list "producer" "rabbitmq" "postgresql" "prometheus" -}}
{{- $service := (index $values $component).service -}}
{{- if and (eq $service.type "ClusterIP") (or $service.nodePort $service.managementNodePort) -}}
{{- fail (printf "%s.service has a port on the nodes and the type ClusterIP, which has none: set %s.service.type to NodePort, or remove the port." $component $component) -}}
{{- end -}}
{{- end -}}
{{- range $component := list "operator" "producer" "rabbitmq" "postgresql" "prometheus" -}}
{{- range $label := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" -}}
{{- if hasKey (index $values $component).podLabels $label -}}
{{- fail (printf "%s.podLabels sets %s, by which the chart finds its own pods: choose another label." $component $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
