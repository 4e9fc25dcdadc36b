"""Checks rendered manifests: check.py ROOT FILE…

Strict schemas of two Kubernetes versions, a schema of our own for KEDA's ScaledObject, and the rules below, which no
schema sees. Each rule is tried on spoiled manifests first, so that a rule that finds nothing is noticed.
"""
import copy
import pathlib
import re
import sys
import warnings

import jsonschema
import kubernetes_validate
import yaml

VERSIONS = ("1.30", "1.37")
PARTITIONS = 12
WORKLOADS = ("Deployment", "StatefulSet", "Job")
KINDS = {*WORKLOADS, "ConfigMap", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy",
         "HorizontalPodAutoscaler", "ScaledObject"}
BEHAVIOUR = {
    "type": "object", "additionalProperties": False, "required": ["scaleUp", "scaleDown"],
    "patternProperties": {"^scale(Up|Down)$": {
        "type": "object", "additionalProperties": False, "required": ["stabilizationWindowSeconds", "policies"],
        "properties": {
            "stabilizationWindowSeconds": {"type": "integer", "maximum": 3600},
            "policies": {"type": "array", "items": {
                "type": "object", "additionalProperties": False, "required": ["type", "value", "periodSeconds"],
                "properties": {"type": {"enum": ["Pods", "Percent"]}, "value": {"type": "integer"},
                               "periodSeconds": {"type": "integer", "maximum": 1800}}}}}}}}
SCALED_OBJECT = {
    "type": "object", "additionalProperties": False, "required": ["scaleTargetRef", "triggers"],
    "properties": {
        "scaleTargetRef": {"type": "object", "additionalProperties": False, "required": ["name"],
                           "properties": {"name": {"type": "string"}, "kind": {"type": "string"},
                                          "apiVersion": {"type": "string"}}},
        "minReplicaCount": {"type": "integer", "minimum": 1}, "maxReplicaCount": {"type": "integer"},
        "pollingInterval": {"type": "integer"},
        "fallback": {"type": "object", "additionalProperties": False, "required": ["failureThreshold", "replicas"],
                     "properties": {"failureThreshold": {"type": "integer"}, "replicas": {"type": "integer"},
                                    "behavior": {"enum": ["static", "currentReplicas", "currentReplicasIfHigher",
                                                          "currentReplicasIfLower"]}}},
        "advanced": {"type": "object", "additionalProperties": False, "properties": {
            "horizontalPodAutoscalerConfig": {"type": "object", "additionalProperties": False,
                                              "properties": {"behavior": BEHAVIOUR}}}},
        "triggers": {"type": "array", "minItems": 1, "items": {
            "type": "object", "additionalProperties": False, "required": ["type", "metadata", "metricType"],
            "properties": {
                "type": {"const": "prometheus"}, "name": {"type": "string"},
                "metricType": {"enum": ["Value", "AverageValue"]},
                "metadata": {"type": "object", "additionalProperties": False,
                             "required": ["serverAddress", "query", "threshold", "ignoreNullValues"],
                             # KEDA takes texts only.
                             "patternProperties": {"": {"type": "string"}},
                             "properties": {name: {} for name in (
                                 "serverAddress", "query", "threshold", "ignoreNullValues", "activationThreshold")}}}}},
    }}


def name(item):
    return f"{item['kind']} {item['metadata']['name']}"


def template(workload):
    return workload["spec"]["template"]


def labels(workload):
    return template(workload)["metadata"].get("labels", {})


def matches(selector, has):
    if any(has.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(expression["operator"] == "In" and has.get(expression["key"]) in expression["values"]
               for expression in selector.get("matchExpressions", []))


def ports(workload):
    return {port["name"]: port["containerPort"]
            for container in template(workload)["spec"]["containers"] for port in container.get("ports", [])}


class Page:
    """docs/configuration.md and docs/metrics.md."""

    def __init__(self, root):
        text = (root / "docs/configuration.md").read_text()
        self.roles, self.defaults = {}, {}
        for row in re.finditer(r"^\| `[^`]+` \| `(BECKON_\w+)` \|(.*)$", text, re.M):
            cells = [cell.strip() for cell in row[2].split("|")]
            self.roles[row[1]], self.defaults[row[1]] = cells[4], cells[1].strip("`")
        self.metrics = set(re.findall(r"^\| `(\w+)`", (root / "docs/metrics.md").read_text(), re.M))
        assert len(self.roles) > 50 and len(self.metrics) > 100


def problems(items, page):
    """What is wrong with the manifests of one overlay."""
    found = []

    def wrong(item, text):
        found.append(f"{name(item)}: {text}")

    by = {kind: [item for item in items if item["kind"] == kind] for kind in KINDS}
    workloads = [item for kind in WORKLOADS for item in by[kind]]
    config = {item["metadata"]["name"]: item["data"] for item in by["ConfigMap"]}
    for item in items:
        if item["kind"] not in KINDS:
            wrong(item, "a kind that no schema checks")
    identities = [name(item) for item in items]
    for identity in {identity for identity in identities if identities.count(identity) > 1}:
        found.append(f"{identity}: twice")
    for item in workloads:
        check_workload(item, config, page, wrong)
        if item["kind"] != "Job" and not any(matches(budget["spec"]["selector"], labels(item))
                                             for budget in by["PodDisruptionBudget"]):
            wrong(item, "no PodDisruptionBudget selects its pods")
        account = template(item)["spec"].get("serviceAccountName")
        if account and account not in [other["metadata"]["name"] for other in by["ServiceAccount"]]:
            wrong(item, f"ServiceAccount {account} does not exist")
    for item in by["PodDisruptionBudget"]:
        if not any(matches(item["spec"]["selector"], labels(workload)) for workload in workloads):
            wrong(item, "selects no pod")
        if item["spec"].get("maxUnavailable") != 1:
            wrong(item, "maxUnavailable is not 1: a drain would be blocked, or take several pods")
        if item["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            wrong(item, "a broken pod would block the drain of its node")
    for item in by["Service"]:
        chosen = [workload for workload in workloads
                  if matches({"matchLabels": item["spec"]["selector"]}, labels(workload))]
        if not chosen:
            wrong(item, "selects no pod")
        for port in item["spec"]["ports"]:
            if not isinstance(port["targetPort"], str):
                wrong(item, f"port {port['name']} has no named target")
            elif any(port["targetPort"] not in ports(workload) for workload in chosen):
                wrong(item, f"no container has the port {port['targetPort']}")
    check_policies(by["NetworkPolicy"], workloads, wrong)
    check_console(by["Service"], by["NetworkPolicy"], workloads, config, wrong)
    targets = {}
    for item in by["HorizontalPodAutoscaler"] + by["ScaledObject"]:
        target = item["spec"]["scaleTargetRef"]["name"]
        chosen = [workload for workload in workloads if workload["metadata"]["name"] == target]
        targets.setdefault(target, []).append(item)
        if len(targets[target]) > 1:
            wrong(item, f"{target} is scaled twice")
        if not chosen:
            wrong(item, f"{target} does not exist")
        elif "replicas" in chosen[0]["spec"]:
            wrong(item, f"{target} has replicas, which each apply would restore")
        if item["kind"] == "ScaledObject":
            check_scaling(item, page, wrong)
    return found


def check_workload(item, config, page, wrong):
    spec = template(item)["spec"]
    if item["kind"] != "Job" and not matches(item["spec"]["selector"], labels(item)):
        wrong(item, "the selector does not match the pods")
    security = spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        wrong(item, "may run as root")
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        wrong(item, "no seccomp profile")
    if spec.get("automountServiceAccountToken") is not False:
        wrong(item, "gets a token of the API server")
    if spec.get("enableServiceLinks") is not False:
        wrong(item, "gets variables of services, which look like settings")
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    volumes.update({claim["metadata"]["name"]: claim for claim in item["spec"].get("volumeClaimTemplates", [])})
    named = [port["name"] for container in spec["containers"] for port in container.get("ports", [])]
    numbers = [port["containerPort"] for container in spec["containers"] for port in container.get("ports", [])]
    if len(set(named)) != len(named) or len(set(numbers)) != len(numbers):
        wrong(item, "two containers of the pod have the same port")
    for container in spec["containers"]:
        where = f"container {container['name']}"
        rights = container.get("securityContext", {})
        if rights.get("readOnlyRootFilesystem") is not True or rights.get("allowPrivilegeEscalation") is not False \
                or rights.get("capabilities", {}).get("drop") != ["ALL"]:
            wrong(item, f"{where} has more rights than it needs")
        if not re.search(r":\d[^:/]*$|@sha256:", container["image"]):
            wrong(item, f"{where}: the image {container['image']} is not pinned")
        if not container.get("resources", {}).get("limits", {}).get("memory"):
            wrong(item, f"{where} has no memory limit")
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                wrong(item, f"{where}: volume {mount['name']} does not exist")
        settings = {}
        for source in container.get("envFrom", []):
            reference = source["configMapRef"]["name"]
            if reference not in config:
                wrong(item, f"{where}: ConfigMap {reference} does not exist")
            settings.update(config.get(reference, {}))
        for variable in container.get("env", []):
            if "value" not in variable:
                wrong(item, f"{where}: {variable['name']} is not from a file")
            settings[variable["name"]] = variable.get("value", "")
        check_settings(item, where, container, settings, page, wrong)
        if item["kind"] == "Job":
            continue
        # Clients are not sent away from a producer because Kafka or the store has a fault: it would be all producers.
        is_called = container["args"] == ["producer"]
        asked = [("startupProbe", "/livez"), ("livenessProbe", "/livez")]
        if is_called or all(other["args"] != ["producer"] for other in spec["containers"]):
            asked.append(("readinessProbe", "/servez" if is_called else "/readyz"))
        elif "readinessProbe" in container:
            wrong(item, f"{where}: its readiness would take the producer's clients away")
        for probe, path in asked:
            get = container.get(probe, {}).get("httpGet", {})
            if get.get("path") != path:
                wrong(item, f"{where}: {probe} does not ask {path}")
            own = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            if str(own.get(get.get("port"))) != settings.get("BECKON_ADMIN_PORT", page.defaults["BECKON_ADMIN_PORT"]):
                wrong(item, f"{where}: {probe} does not ask the admin port")
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = int(settings.get("BECKON_SHUTDOWN_TIMEOUT", page.defaults["BECKON_SHUTDOWN_TIMEOUT"])) / 1000
        if spec.get("terminationGracePeriodSeconds", 30) < pause + drain + 2:
            wrong(item, f"{where} is killed while it drains")
        if container["args"] != ["producer"] and pause:
            wrong(item, f"{where}: a pause before the stop keeps partitions")
    if item["kind"] == "Deployment":
        rolling = item["spec"].get("strategy", {}).get("rollingUpdate", {})
        if rolling != {"maxSurge": 1, "maxUnavailable": 0} or item["spec"].get("minReadySeconds", 0) < 10:
            wrong(item, "is not restarted one pod at a time")
        if {constraint["topologyKey"] for constraint in spec.get("topologySpreadConstraints", [])} != {
                "topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
            wrong(item, "is not spread over zones and nodes")
        for constraint in spec.get("topologySpreadConstraints", []):
            if not matches(constraint["labelSelector"], labels(item)):
                wrong(item, "a spread constraint counts other pods")
    if item["kind"] == "StatefulSet":
        if item["spec"]["replicas"] != 1:
            wrong(item, "a SQLite file has one producer")
        if any(claim["spec"]["accessModes"] != ["ReadWriteOncePod"]
               for claim in item["spec"]["volumeClaimTemplates"]):
            wrong(item, "a second pod could mount the store")


def check_settings(item, where, container, settings, page, wrong):
    role = container["args"][0]
    for setting in settings:
        if setting not in page.roles:
            wrong(item, f"{where}: {setting} is no setting")
    # With Kafka, the console also needs the store, for the audit trail.
    has_store = role in ("producer", "webhooks", "migrate") or \
        role == "console" and "BECKON_KAFKA_BOOTSTRAP_SERVERS" in settings
    if has_store and ("BECKON_STORE_URL" in settings) == ("BECKON_STORE_PATH" in settings):
        wrong(item, f"{where}: expected one of BECKON_STORE_URL and BECKON_STORE_PATH")
    if role not in ("migrate", "console") and "BECKON_KAFKA_BOOTSTRAP_SERVERS" not in settings:
        wrong(item, f"{where}: BECKON_KAFKA_BOOTSTRAP_SERVERS is missing")
    file = pathlib.PurePosixPath(settings.get("BECKON_CONFIG", "/none"))
    mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
    volumes = {volume["name"]: volume for volume in template(item)["spec"]["volumes"]}
    secret = volumes.get(mounts.get(str(file.parent)), {}).get("secret")
    if secret is None:
        wrong(item, f"{where}: {file} is in no Secret")
    elif secret["secretName"] != f"beckon-{role}" or secret.get("defaultMode") != 0o400:
        wrong(item, f"{where}: expected the Secret beckon-{role} with mode 0400")
    for owner, setting, port in (("producer", "BECKON_API_PORT", "api"),
                                 ("producer", "BECKON_DEVICE_API_PORT", "devices"),
                                 ("console", "BECKON_CONSOLE_PORT", "console")):
        if role == owner and str(ports(item).get(port)) != settings.get(setting):
            wrong(item, f"{where}: the port {port} is not {setting}")


def check_policies(policies, workloads, wrong):
    for item in policies:
        chosen = [workload for workload in workloads if matches(item["spec"]["podSelector"], labels(workload))]
        if not chosen:
            wrong(item, "selects no pod")
        known = {port for workload in chosen for port in ports(workload)}
        for rule in item["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                if isinstance(port["port"], str) and port["port"] not in known:
                    wrong(item, f"no container has the port {port['port']}")
    for workload in workloads:
        own = [policy["spec"] for policy in policies if matches(policy["spec"]["podSelector"], labels(workload))]
        if not any(set(spec["policyTypes"]) == {"Ingress", "Egress"} and "ingress" not in spec
                   and "egress" not in spec for spec in own):
            wrong(workload, "everything that no policy names is allowed")
        admitted = {port["port"] for spec in own for rule in spec.get("ingress", []) for port in rule["ports"]}
        for port in set(ports(workload)) - admitted:
            wrong(workload, f"nobody may reach its port {port}")


def check_console(services, policies, workloads, config, wrong):
    """The console reads every pod of every role: by services without an address of their own, which policies allow."""
    consoles = [item for item in workloads if item["metadata"]["name"] == "beckon-console"]
    if not consoles:
        return wrong({"kind": "Deployment", "metadata": {"name": "beckon-console"}}, "does not exist")
    console, read = consoles[0], set()
    settings = {}
    for source in template(console)["spec"]["containers"][0]["envFrom"]:
        settings.update(config.get(source["configMapRef"]["name"], {}))
    by_name = {service["metadata"]["name"]: service for service in services}
    urls = settings.get("BECKON_CONSOLE_TARGETS", "").split(",")
    for url in [*urls, settings.get("BECKON_CONSOLE_API_URL", "")]:
        match = re.fullmatch(r"http://([a-z0-9-]+):(\d+)(/metrics)?", url)
        service = by_name.get(match[1]) if match else None
        entry = next((port for port in service["spec"]["ports"] if str(port["port"]) == match[2]), None) \
            if service else None
        if entry is None:
            wrong(console, f"{url} leads to no Service")
            continue
        for workload in workloads:
            if not matches({"matchLabels": service["spec"]["selector"]}, labels(workload)):
                continue
            number = ports(workload).get(entry["targetPort"], 0)
            if match[3]:
                read.add((workload["metadata"]["name"], entry["targetPort"]))
                if service["spec"].get("clusterIP") != "None" or number != entry["port"]:
                    wrong(service, "does not name each pod and its port")
            if not any(admits(policy, workload, console, entry["targetPort"]) for policy in policies):
                wrong(console, f"may not reach the port {entry['targetPort']} of {workload['metadata']['name']}")
            if not any(lets_out(policy, console, workload, number) for policy in policies):
                wrong(console, f"may not call the port {number} of {workload['metadata']['name']}")
    for workload in workloads:
        for port in ports(workload):
            owner = workload["metadata"]["name"]
            if port.startswith("admin") and workload is not console and (owner, port) not in read:
                wrong(console, f"does not read the metrics of {owner}, port {port}")


def admits(policy, workload, caller, port):
    return matches(policy["spec"]["podSelector"], labels(workload)) and any(
        {"port": port} in rule["ports"] and any(
            "podSelector" in peer and matches(peer["podSelector"], labels(caller)) for peer in rule.get("from", []))
        for rule in policy["spec"].get("ingress", []))


def lets_out(policy, workload, called, number):
    return matches(policy["spec"]["podSelector"], labels(workload)) and any(
        any(port["port"] <= number <= port.get("endPort", port["port"]) for port in rule["ports"]) and any(
            "podSelector" in peer and matches(peer["podSelector"], labels(called)) for peer in rule.get("to", []))
        for rule in policy["spec"].get("egress", []))


def check_scaling(item, page, wrong):
    spec = item["spec"]
    if spec["maxReplicaCount"] != PARTITIONS or spec.get("minReplicaCount") != 2:
        wrong(item, f"expected from 2 to {PARTITIONS}, the number of partitions")
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    if down["stabilizationWindowSeconds"] < 600 or down["policies"] != [
            {"type": "Pods", "value": 1, "periodSeconds": 300}]:
        wrong(item, "shrinks too fast: each step is a rebalance")
    for trigger in spec["triggers"]:
        query = trigger["metadata"]["query"]
        for metric in re.findall(r"\bbeckon_\w+", query):
            if metric not in page.metrics:
                wrong(item, f"{metric} does not exist")
        if trigger["metadata"]["ignoreNullValues"] != "false":
            wrong(item, "an empty answer would count as 0")
        if "_seconds" in query and (trigger["metricType"] != "Value" or "open_circuits" not in query):
            wrong(item, "an age must not be divided, and must be neutral while a circuit is open")


def ages(items):
    """The queries that scale on an age."""
    queries = [trigger["metadata"]["query"] for item in items if item["kind"] == "ScaledObject"
               for trigger in item["spec"]["triggers"]]
    return [query for query in queries if "_seconds" in query]


def schema_problems(items):
    found = []
    for item in items:
        if item["kind"] == "ScaledObject":
            try:
                jsonschema.validate(item["spec"], SCALED_OBJECT)
            except jsonschema.ValidationError as error:
                found.append(f"{name(item)}: {error.message}")
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                found.append(f"{name(item)}, Kubernetes {version}: {error.message}")
    return found


def spoil(items, page):
    """Each rule must find its mistake."""
    def find(kind, part):
        return next(item for item in changed if item["kind"] == kind and part in item["metadata"]["name"])

    def container(part):
        return template(find("Deployment", part))["spec"]["containers"][0]

    mistakes = {
        "is killed while it drains": lambda: template(find("Deployment", "dispatcher"))["spec"].update(
            terminationGracePeriodSeconds=26),
        "may run as root": lambda: template(find("Deployment", "dispatcher"))["spec"]["securityContext"].pop(
            "runAsNonRoot"),
        "is not pinned": lambda: container("dispatcher").update(image="beckon:latest"),
        "is no setting": lambda: container("dispatcher").update(env=[{"name": "BECKON_KAFKA_SERVER", "value": "x"}]),
        "selects no pod": lambda: find("PodDisruptionBudget", "tracker")["spec"]["selector"]["matchLabels"].update(
            {"app.kubernetes.io/name": "tracker"}),
        "does not ask /servez": lambda: template(next(
            item for item in changed if item["kind"] in ("Deployment", "StatefulSet")
            and item["metadata"]["name"] == "beckon-producer"))["spec"]["containers"][0]["readinessProbe"][
                "httpGet"].update(path="/readyz"),
        "does not ask /livez": lambda: container("tracker")["livenessProbe"]["httpGet"].update(path="/readyz"),
        "nobody may reach its port admin": lambda: [
            find("NetworkPolicy", part)["spec"].pop("ingress") for part in ("common", "console-reads-metrics")],
        "leads to no Service": lambda: changed.remove(find("Service", "tracker-metrics")),
        "does not name each pod": lambda: find("Service", "tracker-metrics")["spec"].pop("clusterIP"),
        "does not read the metrics of beckon-ack-tracker": lambda: find("ConfigMap", "console-targets")["data"].update(
            BECKON_CONSOLE_TARGETS="http://beckon-producer-metrics:9464/metrics"),
        "may not reach the port admin of beckon-dispatcher": lambda: changed.remove(
            find("NetworkPolicy", "console-reads-metrics")),
        "may not call the port 8080 of beckon-producer": lambda: find("NetworkPolicy", "beckon-console")["spec"][
            "egress"].pop(0),
        "no container has the port apis": lambda: find("Service", "api")["spec"]["ports"][0].update(
            targetPort="apis"),
        "expected the Secret beckon-dispatcher": lambda: template(find("Deployment", "dispatcher"))["spec"][
            "volumes"][0]["secret"].update(secretName="beckon-producer"),
        "the selector does not match": lambda: labels(find("Deployment", "tracker")).update(
            {"app.kubernetes.io/name": "x"}),
        "a kind that no schema checks": lambda: changed.append({"kind": "Gateway", "metadata": {"name": "x"}}),
    }
    if any(item["kind"] == "ScaledObject" for item in items):
        metadata = lambda: find("ScaledObject", "dispatcher")["spec"]["triggers"][0]["metadata"]
        mistakes.update({
            "beckon_unsent does not exist": lambda: metadata().update(query="max(beckon_unsent)"),
            "neutral while a circuit": lambda: metadata().update(query="max(beckon_dispatcher_oldest_unsent_seconds)"),
            "an empty answer": lambda: metadata().update(ignoreNullValues="true"),
            "the number of partitions": lambda: find("ScaledObject", "dispatcher")["spec"].update(maxReplicaCount=20),
            "has replicas": lambda: find("Deployment", "dispatcher")["spec"].update(replicas=3),
        })
    for text, mistake in mistakes.items():
        changed = copy.deepcopy(items)
        mistake()
        if not any(text in problem for problem in problems(changed, page)):
            yield f"no rule finds this mistake: {text}"
    changed = copy.deepcopy(items)
    container("dispatcher")["readinesProbe"] = {}
    if not schema_problems(changed):
        yield "the schemas accept a field that does not exist"


def main():
    warnings.simplefilter("ignore")
    root, files = pathlib.Path(sys.argv[1]), sys.argv[2:]
    page, found = Page(root), []
    for file in files:
        items = [item for item in yaml.safe_load_all(pathlib.Path(file).read_text()) if item]
        overlay = pathlib.Path(file).stem
        found += [f"{overlay}: {text}" for text in [*schema_problems(items), *problems(items, page),
                                                    *spoil(items, page)]]
        print(f"{overlay}: {len(items)} objects")
        tested = (root / "deploy/prometheus/rules/tests/scaling.test.yaml").read_text()
        found += [f"{overlay}: scaling.test.yaml does not test the query {query}" for query in ages(items)
                  if f"'{query}'" not in tested]
    for text in found:
        print(text)
    sys.exit(1 if found else 0)


main()
