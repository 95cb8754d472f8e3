"""Every pod meets the pod security standard `restricted`, starts in any order, and stops in its own time."""

import subprocess

import pytest

COMPONENTS = ["operator", "producer", "rabbitmq", "postgresql", "prometheus"]


@pytest.fixture(params=COMPONENTS)
def pod(request, pods):
    return pods[request.param]["spec"]


@pytest.fixture
def containers(pod):
    return pod["containers"] + pod.get("initContainers", [])


def test_all_components_are_looked_at(pods):
    assert sorted(pods) == sorted(COMPONENTS)


def test_runs_as_a_user_without_rights(pod, containers):
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_has_only_volumes_that_restricted_allows_and_nothing_of_the_host(pod):
    allowed = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    for volume in pod["volumes"]:
        assert set(volume) - {"name"} <= allowed
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_every_mount_has_its_volume(pod, containers):
    claims = {"data"}  # of StatefulSets
    names = {volume["name"] for volume in pod["volumes"]} | claims
    assert {mount["name"] for container in containers for mount in container["volumeMounts"]} <= names


def test_no_service_fills_the_environment(pod):
    assert pod["enableServiceLinks"] is False


def test_has_memory_limits_and_no_cpu_limits(containers):
    for container in containers:
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}


def test_has_all_three_probes_and_minutes_to_start(pod):
    (container,) = pod["containers"]
    assert {"livenessProbe", "readinessProbe"} <= set(container)
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 180


@pytest.mark.parametrize(
    ("component", "probe", "expected"),
    [
        ("operator", "startupProbe", ("/healthz", "metrics")),
        ("operator", "livenessProbe", ("/healthz", "metrics")),
        ("operator", "readinessProbe", ("/readyz", "metrics")),
        ("producer", "startupProbe", ("/healthz", "http")),
        ("producer", "livenessProbe", ("/healthz", "http")),
        ("producer", "readinessProbe", ("/readyz", "http")),
    ],
)
def test_our_processes_are_probed_where_the_answer_is_meant(pods, component, probe, expected):
    get = pods[component]["spec"]["containers"][0][probe]["httpGet"]
    assert (get["path"], get["port"]) == expected


@pytest.mark.parametrize("component", COMPONENTS)
def test_has_an_account_of_its_own_that_takes_annotations(chart, pods, component):
    assert pods[component]["spec"]["serviceAccountName"] == f"leveret-{component}"
    (account,) = [
        each
        for each in chart.render(*(f"{each}.serviceAccount.annotations.who={each}" for each in COMPONENTS))
        if (each["kind"], each["metadata"]["name"]) == ("ServiceAccount", f"leveret-{component}")
    ]
    assert account["metadata"]["annotations"] == {"who": component}


def test_pull_secrets_are_for_every_pod_and_for_consumers(chart, pods):
    objects = chart.render("image.pullSecrets={one,two}")
    specs = [each["spec"]["template"]["spec"] for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    assert len(specs) == len(COMPONENTS)
    assert all(spec["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}] for spec in specs)
    assert "{'name': 'LEVERET_CONSUMER_PULL_SECRETS', 'value': 'one,two'}" in str(specs)
    assert not [pod for pod in pods.values() if "imagePullSecrets" in pod["spec"]]


def test_prometheus_listens_on_every_address(pods):
    assert "--web.listen-address=:9090" in pods["prometheus"]["spec"]["containers"][0]["args"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_only_what_talks_to_kubernetes_has_a_token(pods, component):
    assert pods[component]["spec"]["automountServiceAccountToken"] is (component in {"operator", "prometheus"})


def test_service_accounts_hand_out_no_token_by_themselves(objects):
    accounts = [each for each in objects if each["kind"] == "ServiceAccount"]
    assert all(account["automountServiceAccountToken"] is False for account in accounts)


def test_there_is_never_a_second_operator(one):
    spec = one("Deployment", "leveret-operator")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_a_producer_leaves_the_service_before_it_stops_and_is_replaced_before_it_goes(one, pods):
    spec = one("Deployment", "leveret-producer")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    pod = pods["producer"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 60
    assert pod["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"


def test_the_brokers_data_outlives_its_pod(one, pods):
    environment = {each["name"]: each.get("value") for each in pods["rabbitmq"]["spec"]["containers"][0]["env"]}
    assert environment["RABBITMQ_NODENAME"] == "rabbit@localhost"
    (claim,) = one("StatefulSet", "leveret-rabbitmq")["spec"]["volumeClaimTemplates"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pods["rabbitmq"]["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/var/lib/rabbitmq"] == claim["metadata"]["name"]
    assert pods["rabbitmq"]["spec"]["terminationGracePeriodSeconds"] >= 60


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ("memory: 3Gi", "3221225472"),
        ("memory: 1.5Gi", "1610612736"),  # RabbitMQ reads no fraction
        ("memory: 1500M", "1500000000"),
        ("memory: 2147483648", "2147483648"),  # a number, which YAML may hold as 2.147483648e+09
        ("memory: 2e9", "2000000000"),
        ("memory: '2147483648'", "2147483648"),
    ],
)
def test_the_broker_knows_its_memory(chart, tmp_path, limits, told):
    values = tmp_path / "values.yaml"
    values.write_text(f"rabbitmq: {{resources: {{limits: {{{limits}}}}}}}")
    assert f"total_memory_available_override_value = {told}\n" in broker_settings(chart.render(values=str(values)))


@pytest.mark.parametrize(
    ("ipv6", "told"), [(True, "management.tcp.ip = ::\nprometheus.tcp.ip = ::\n"), (False, "")], ids=["with", "without"]
)
def test_the_broker_is_told_whether_there_is_ipv6(pods, tmp_path, ipv6, told):
    spec = pods["rabbitmq"]["spec"]
    (script,) = spec["initContainers"][0]["args"]
    known = tmp_path / "if_inet6"
    if ipv6:
        known.touch()
    script = script.replace("/var/lib/rabbitmq", str(tmp_path)).replace("/proc/net/if_inet6", str(known))
    subprocess.run(["sh", "-c", script], check=True)
    mounts = {mount["mountPath"]: mount.get("subPath") for mount in spec["containers"][0]["volumeMounts"]}
    assert (tmp_path / mounts["/etc/rabbitmq/conf.d/80-listeners.conf"]).read_text() == told


def test_without_a_limit_the_node_is_the_broker_s(chart):
    assert "override" not in broker_settings(chart.render("rabbitmq.resources.limits=null"))


def broker_settings(objects):
    (found,) = [
        each["data"]["90-leveret.conf"]
        for each in objects
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "leveret-rabbitmq"
    ]
    return found


@pytest.mark.parametrize(
    "settings",
    [
        ["producer.replicas=5"],
        ["producer.replicas=9", "postgresql.maxConnections=163"],
        ["producer.replicas=40", "postgresql.enabled=false", "postgresql.existingSecret=mine"],
    ],
    ids=str,
)
def test_so_many_producers_have_their_connections(chart, settings):
    assert chart.render(*settings)


def test_the_databases_log_holds_no_payload(pods):
    (container,) = pods["postgresql"]["spec"]["containers"]
    quiet = {"-clog_error_verbosity=terse", "-clog_parameter_max_length=0", "-clog_parameter_max_length_on_error=0"}
    assert quiet <= set(container["args"])


def test_a_producers_last_words_are_shown(pods):
    (container,) = pods["producer"]["spec"]["containers"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_the_database_is_in_a_subfolder_of_its_volume_and_commits_to_disk(pods):
    (container,) = pods["postgresql"]["spec"]["containers"]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert environment["PGDATA"].startswith(mounts["data"] + "/")
    assert environment["POSTGRES_PASSWORD_FILE"] == mounts["database"] + "/password"
    assert not [argument for argument in container["args"] if "synchronous_commit" in argument or "fsync" in argument]
