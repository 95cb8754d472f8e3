"""What people and programs outside rely on: names, ports, mounts, environment."""

import json
import re

import pytest

EVERYTHING = {
    ("Deployment", "leveret-operator"),
    ("Deployment", "leveret-producer"),
    ("Deployment", "leveret-prometheus"),
    ("StatefulSet", "leveret-rabbitmq"),
    ("StatefulSet", "leveret-postgresql"),
    ("Service", "leveret-producer"),
    ("Service", "leveret-prometheus"),
    ("Service", "leveret-rabbitmq"),
    ("Service", "leveret-postgresql"),
    ("ServiceAccount", "leveret-operator"),
    ("ServiceAccount", "leveret-producer"),
    ("ServiceAccount", "leveret-prometheus"),
    ("ServiceAccount", "leveret-rabbitmq"),
    ("ServiceAccount", "leveret-postgresql"),
    ("PodDisruptionBudget", "leveret-producer"),
    ("Role", "leveret-operator"),
    ("Role", "leveret-prometheus"),
    ("RoleBinding", "leveret-operator"),
    ("RoleBinding", "leveret-prometheus"),
    ("ConfigMap", "leveret-rabbitmq"),
    ("ConfigMap", "leveret-prometheus"),
    ("CustomResourceDefinition", "jobqueues.leveret.dev"),
    ("ValidatingAdmissionPolicy", "jobqueues.leveret.dev"),
    ("ValidatingAdmissionPolicyBinding", "jobqueues.leveret.dev"),
}
CLUSTER_WIDE = {kind for kind, name in EVERYTHING if name == "jobqueues.leveret.dev"}


OWN_SECRETS = (
    '{"broker":{"given":{"host":"leveret-rabbitmq","port":"5672","username":"leveret","vhost":"/"},"name":"leveret-broker"},'
    '"database":{"given":{"dbname":"leveret","host":"leveret-postgresql","port":"5432","username":"leveret"},'
    '"name":"leveret-database"},"installation":{"name":"leveret-installation"},"token":{"name":"leveret-token"}}'
)


def test_the_defaults_make_exactly_this(objects):
    assert {(each["kind"], each["metadata"]["name"]) for each in objects} == EVERYTHING


def test_objects_carry_the_labels_and_the_namespace(objects):
    for each in objects:
        if each["kind"] not in CLUSTER_WIDE:
            labels = each["metadata"]["labels"]
            assert each["metadata"]["namespace"] == "leveret"
            assert labels["app.kubernetes.io/name"] == "leveret"
            assert labels["app.kubernetes.io/instance"] == "leveret"
            assert labels["app.kubernetes.io/component"] in {
                "operator",
                "producer",
                "rabbitmq",
                "postgresql",
                "prometheus",
            }


def test_selectors_find_their_own_pods_and_no_others(objects, pods):
    for each in objects:
        if each["kind"] in {"Deployment", "StatefulSet", "Service"}:
            selector = each["spec"]["selector"]
            labels = selector.get("matchLabels", selector)
            found = [name for name, pod in pods.items() if labels.items() <= pod["metadata"]["labels"].items()]
            assert found == [each["metadata"]["labels"]["app.kubernetes.io/component"]]


def test_make_up_waits_for_every_part_and_for_no_consumer(root, objects):
    (selector,) = re.findall(r"rollout status [^|]*? -l '([^']+)'", (root / "Makefile").read_text(), re.DOTALL)

    def waited_for(labels):
        terms = [re.fullmatch("(.+?)(!?=)(.+)", term).groups() for term in selector.split(",")]
        return all((labels.get(key) == value) is (sign == "=") for key, sign, value in terms)

    parts = [each["metadata"]["labels"] for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    assert all(map(waited_for, parts))
    assert not waited_for(parts[0] | {"app.kubernetes.io/component": "consumer"})


@pytest.mark.parametrize(
    ("service", "ports"),
    [
        ("leveret-producer", {80: "http"}),
        ("leveret-prometheus", {9090: "http"}),
        ("leveret-rabbitmq", {5672: "amqp", 15672: "management", 15692: "metrics"}),
        ("leveret-postgresql", {5432: "postgresql"}),
    ],
)
def test_services(one, service, ports):
    assert {port["port"]: port["targetPort"] for port in one("Service", service)["spec"]["ports"]} == ports


@pytest.mark.parametrize(
    ("component", "ports"),
    [
        ("operator", {"metrics": 9000}),
        ("producer", {"http": 8080, "metrics": 9000}),
        ("rabbitmq", {"amqp": 5672, "management": 15672, "metrics": 15692}),
        ("postgresql", {"postgresql": 5432}),
        ("prometheus", {"http": 9090}),
    ],
)
def test_ports_of_pods(pods, component, ports):
    (container,) = pods[component]["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == ports


@pytest.mark.parametrize(
    ("component", "secrets"),
    [
        (
            "operator",  # which makes them
            {
                "/etc/leveret/broker": "leveret-broker",
                "/etc/leveret/database": "leveret-database",
                "/etc/leveret/token": "leveret-token",
                "/etc/leveret/installation": "leveret-installation",
            },
        ),
        (
            "producer",
            {
                "/etc/leveret/broker": "leveret-broker",
                "/etc/leveret/database": "leveret-database",
                "/etc/leveret/token": "leveret-token",
                "/etc/leveret/installation": "leveret-installation",
            },
        ),
        ("rabbitmq", {"/etc/leveret/broker": "leveret-broker"}),
        ("postgresql", {"/etc/leveret/database": "leveret-database"}),
        ("prometheus", {}),
    ],
)
def test_secrets_are_folders_and_each_pod_has_only_what_it_needs(pods, component, secrets):
    spec = pods[component]["spec"]
    volumes = {volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    mounts = {
        mount["mountPath"]: volumes[mount["name"]]
        for mount in spec["containers"][0]["volumeMounts"]
        if mount["name"] in volumes
    }
    assert mounts == secrets


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        (
            "operator",
            {
                "LEVERET_LOG": "json",
                "LEVERET_POD": "metadata.name",
                "LEVERET_NAMESPACE": "metadata.namespace",
                "LEVERET_BROKER_SECRET": "leveret-broker",
                "LEVERET_INSTALLATION_SECRET": "leveret-installation",
                "LEVERET_OWN_SECRETS": OWN_SECRETS,
                "LEVERET_BROKER_MANAGEMENT_PORT": "15672",
                "LEVERET_BROKER_METRICS_PORT": "15692",
                "LEVERET_CONSUMER_PULL_POLICY": "IfNotPresent",
                "LEVERET_CONSUMER_RESOURCES": '{"requests":{"cpu":"20m","memory":"96Mi"}}',
            },
        ),
        (
            "producer",
            {
                "LEVERET_LOG": "json",
                "LEVERET_POD": "metadata.name",
                "LEVERET_NAMESPACE": "metadata.namespace",
                "LEVERET_LISTEN_PORT": "8080",
                "LEVERET_OUTBOX_LIMIT": "1000000",
                "LEVERET_KEEP_ALIVE": "75s",
                "LEVERET_RETENTION_JOBS": "720h",
                "LEVERET_RETENTION_PAYLOADS": "168h",
                "LEVERET_RETENTION_DECISIONS": "720h",
                "LEVERET_PROMETHEUS_URL": "http://leveret-prometheus:9090",
            },
        ),
    ],
)
def test_environment_of_our_processes(pods, component, expected):
    assert environment(pods[component]) == expected


def test_images(pods):
    images = {component: pod["spec"]["containers"][0]["image"] for component, pod in pods.items()}
    assert images == {
        "operator": "leveret/operator:0.2.0",
        "producer": "leveret/producer:0.2.0",
        "rabbitmq": "rabbitmq:4.3-management",
        "postgresql": "postgres:17-trixie",
        "prometheus": "prom/prometheus:v3",
    }


def test_values_for_kind_use_the_ports_that_kind_maps(chart):
    objects = chart.render(values="values-kind.yaml")
    services = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "Service"}
    ports = {
        port["nodePort"]
        for spec in services.values()
        for port in spec["ports"]
        if spec["type"] == "NodePort" and "nodePort" in port
    }
    assert ports == {30080, 30090, 30672, 31672}


def test_everything_and_twenty_consumers_fit_two_cores(chart):
    objects = chart.render(values="values-kind.yaml")
    workloads = [each["spec"] for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    cpu = sum(
        spec["replicas"] * int(container["resources"]["requests"]["cpu"].removesuffix("m"))
        for spec in workloads
        for container in spec["template"]["spec"]["containers"]
    )
    consumer = json.loads(environment(template_of("operator", objects))["LEVERET_CONSUMER_RESOURCES"])
    assert cpu + 20 * int(consumer["requests"]["cpu"].removesuffix("m")) <= 450


def template_of(component, objects):
    (found,) = [
        each["spec"]["template"]
        for each in objects
        if each["kind"] == "Deployment" and each["metadata"]["name"] == f"leveret-{component}"
    ]
    return found


def environment(pod):
    """Return each variable's value, or the field that it comes from."""
    (container,) = pod["spec"]["containers"]
    fields = {each["name"]: each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for each in container["env"]}
    return {each["name"]: each.get("value", fields[each["name"]]) for each in container["env"]}
