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
{{- $has := default 100 $values.postgresql.maxConnections | int -}}
{{- if and $values.postgresql.enabled (lt $has (int $connections)) -}}
{{- fail (printf "producer.replicas is %d, and so many producers and the one more of a rolling update may open %d connections, 3 for an administrator included, where postgresql.maxConnections is %d: raise it to at least %d, or run fewer producers." (int $values.producer.replicas) $connections $has $connections) -}}
{{- end -}}
{{- if and $values.prometheus.enabled $values.prometheus.url -}}
{{- fail "prometheus.url names a Prometheus of yours and prometheus.enabled installs another: set prometheus.enabled to false, or leave prometheus.url empty." -}}
{{- end -}}
{{- $podMonitor := (($values.monitoring).podMonitor).enabled -}}
{{- $serviceMonitor := (($values.monitoring).serviceMonitor).enabled -}}
{{- if and $podMonitor $serviceMonitor -}}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor scrape the same pods, and sums would count everything twice: enable only one of them." -}}
{{- end -}}
{{- if and ($values.networkPolicy).enabled (or $values.prometheus.url $podMonitor $serviceMonitor) (not ($values.networkPolicy.from).metrics) -}}
{{- fail "networkPolicy.enabled lets only the chart's own Prometheus scrape, and the values speak of one of yours: name its pods in networkPolicy.from.metrics." -}}
{{- end -}}
{{- if and $values.rabbitmq.enabled (or (ne (int $values.rabbitmq.managementPort) 15672) (ne (int $values.rabbitmq.metricsPort) 15692)) -}}
{{- fail "rabbitmq.managementPort and rabbitmq.metricsPort are for a broker of yours; the chart's own listens on 15672 and 15692: remove them, or set rabbitmq.enabled to false." -}}
{{- end -}}
{{- $kept := $values.producer.retention -}}
{{- if gt (trimSuffix "h" $kept.payloads | int) (trimSuffix "h" $kept.jobs | int) -}}
{{- fail (printf "producer.retention.payloads is %s and producer.retention.jobs is %s: a payload goes with its job at the latest; lower the first or raise the second." $kept.payloads $kept.jobs) -}}
{{- end -}}
{{- /* What there is already; nothing where the chart is only rendered. */ -}}
{{- range $other := (lookup "apps/v1" "Deployment" .Release.Namespace "").items -}}
{{- $labels := default dict $other.metadata.labels -}}
{{- $release := get $labels "app.kubernetes.io/instance" -}}
{{- $operates := and (eq (get $labels "app.kubernetes.io/name") "leveret") (eq (get $labels "app.kubernetes.io/component") "operator") -}}
{{- if and $operates (ne $release $.Release.Name) (gt (int $other.spec.replicas) 0) (gt (int $values.operator.replicas) 0) -}}
{{- fail (printf "the namespace %s has the operator of the release %s already, and a namespace has one: install into another namespace, upgrade that release instead, or set operator.replicas to 0 for one of the two." $.Release.Namespace $release) -}}
{{- end -}}
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
{{- range $label, $_ := include "leveret.selector" (list $ $component) | fromYaml -}}
{{- if hasKey (default dict (index $values $component).podLabels) $label -}}
{{- fail (printf "%s.podLabels sets %s, by which the chart finds its own pods: choose another label." $component $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $label, $_ := include "leveret.labels" (list $ "prometheus") | fromYaml -}}
{{- if hasKey (default dict ($values.monitoring).labels) $label -}}
{{- fail (printf "monitoring.labels sets %s, which the chart sets itself: choose another label." $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Kubernetes changes no claim of a StatefulSet that is there, and its refusal names no way. Nothing is known without a cluster, as
       in `helm template`. Argument: (list $ component). */ -}}
{{- define "leveret.volumeChecks" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $set := printf "%s-%s" (include "leveret.fullname" $root) $component -}}
{{- $kubectl := printf "kubectl -n %s" $root.Release.Namespace -}}
{{- $values := (index $root.Values $component).persistence -}}
{{- range dig "spec" "volumeClaimTemplates" list (lookup "apps/v1" "StatefulSet" $root.Release.Namespace $set) -}}
{{- $class := default "" .spec.storageClassName -}}
{{- if ne $class (default "" $values.storageClass) -}}
{{- fail (printf "%s.persistence.storageClass is %q, and the volume of %s was made with %q: a volume stays in its class, and nothing was changed. Set it back; for another class the data must be moved to a new volume." $component (default "" $values.storageClass) $set $class) -}}
{{- end -}}
{{- $size := .spec.resources.requests.storage -}}
{{- $bytes := include "leveret.bytes" (list "the volume's size" $size) | int64 -}}
{{- $wanted := include "leveret.bytes" (list (printf "%s.persistence.size" $component) $values.size) | int64 -}}
{{- if lt $wanted $bytes -}}
{{- fail (printf "%s.persistence.size is %s, and the volume of %s has %s: a volume can't shrink, and nothing was changed. Set it back." $component $values.size $set $size) -}}
{{- else if gt $wanted $bytes -}}
{{- fail (printf "%s.persistence.size is %s, and %s was made with %s, which Kubernetes doesn't let Helm change; nothing was changed. To grow the volume, if its storage class can: `%s patch pvc data-%s-0 -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}'`, then `%s delete statefulset %s --cascade=orphan`, which leaves its pod running, then this upgrade again." $component $values.size $set $size $kubectl $set $values.size $kubectl $set) -}}
{{- end -}}
{{- end -}}
{{- end -}}
