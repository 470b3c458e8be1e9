"""The files of `deploy/` are correct: each configuration passes the check, each command runs as it is written, each port and variable
exists, and each file has the form that its program expects. Images, Compose and Kubernetes themselves are not run."""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import yaml

from container import Container, container_refusal
from fanfare import ROOT, SECRET, program, run
from test_examples import Example

DEPLOY = ROOT / "deploy"
SECRET_FILES = ("/etc/fanfare/jwt_secret", "/run/secrets/jwt_secret", "/run/secrets/fanfare/jwt_secret")
CHART, PLAIN = DEPLOY / "helm/fanfare", DEPLOY / "kubernetes/fanfare.yaml"


def tool(name, *arguments):
    """A program of the tests' Python packages."""
    return subprocess.run(
        [str(pathlib.Path(sys.executable).parent / name), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


def checked(folder, text="", *arguments, **env):
    """Runs `fanfare config check` on this configuration, with the secret in its place."""
    file, secret = folder / "fanfare.toml", folder / "jwt_secret"
    secret.write_text(SECRET)
    placed = lambda value: re.sub("|".join(SECRET_FILES), str(secret), value)  # noqa: E731
    file.write_text(placed(text))
    arguments = arguments or ("--profile", "production")
    done = run("config", "check", "--config", str(file), *arguments, **{name: placed(value) for name, value in env.items()})
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return tomllib.loads(file.read_text())


# --- the configuration, and the unit ---


def test_the_configuration_passes_the_check_without_a_warning(tmp_path):
    example = Example(DEPLOY, tmp_path)
    done = example.run("config", "check", *example.arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def lines_of_unit(key):
    return re.findall(rf"^{key}=(.*)$", (DEPLOY / "systemd/fanfare.service").read_text(), re.M)


def seconds(duration):
    return int(re.fullmatch(r"(\d+)s?", duration)[1])


@pytest.fixture
def container(cleanup):
    if refusal := container_refusal():
        pytest.skip(f"no namespaces here: {refusal}")

    def made(files):
        one = Container(files)
        cleanup.callback(one.remove)
        return one

    return made


def test_the_command_of_the_unit_runs_unchanged(container):
    """The server as the first process, with a read-only root, no temporary folder, and a writable state folder."""
    [command] = lines_of_unit("ExecStart")
    started = container({"/etc/fanfare/fanfare.toml": (DEPLOY / "fanfare.toml").read_text(), "/etc/fanfare/jwt_secret": SECRET})
    started.start(shlex.split(command))
    started.waits_for('"address":"127.0.0.1:3000"')
    ready = started.execute("/usr/local/bin/fanfare", "ready")
    assert (ready.returncode, ready.stdout) == (0, "ready\n"), ready.stderr
    key = started.execute("/usr/local/bin/fanfare", "key", "create", "backend", "--scope", "publish")
    assert "ff_" in key.stdout, key.stderr
    assert started.execute("/usr/local/bin/fanfare", "ready", "--url", "http://127.0.0.1:1").returncode == 1
    assert {path.name for path in started.data.iterdir()} >= {"fanfare.db"}
    assert started.stop() == 0, started.log()
    assert '"drained"' in started.log()


def test_the_unit_waits_for_the_drain_and_systemd_accepts_it(tmp_path):
    timeout = tomllib.loads((DEPLOY / "fanfare.toml").read_text())["shutdown"]["timeout"]
    assert seconds(*lines_of_unit("TimeoutStopSec")) > seconds(timeout)
    unit = tmp_path / "fanfare.service"
    unit.write_text((DEPLOY / "systemd/fanfare.service").read_text().replace("/usr/local/bin/fanfare", "/bin/true").replace("man:fanfare(1)", "https://a.example"))
    done = subprocess.run([program("systemd", "systemd-analyze"), "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), done.stderr


def test_the_unit_permits_netlink_for_traces():
    """Without netlink, no trace would report `acknowledged`."""
    assert "AF_NETLINK" in lines_of_unit("RestrictAddressFamilies")[0].split()


def test_the_socket_unit_has_the_listeners():
    listeners = tomllib.loads((DEPLOY / "fanfare.toml").read_text())["listener"]
    streams = re.findall(r"^ListenStream=(.*)$", (DEPLOY / "systemd/fanfare.socket").read_text(), re.M)
    assert streams == [listener["bind"] for listener in listeners]


# --- the image ---


def instructions(name):
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^(?:HEALTHCHECK .*)?{name} +(.*)$", text, re.M)


def image_environment():
    return dict(pair.split("=", 1) for pair in shlex.split(instructions("ENV")[-1]))


def test_the_commands_of_the_image_run(container):
    environment = image_environment()
    [entry], command = instructions("ENTRYPOINT"), instructions("CMD")
    health, serve = map(json.loads, command)
    started = container({"/run/secrets/jwt_secret": SECRET})
    environment |= {"FANFARE_AUTH_JWT_SECRET_FILE": "/run/secrets/jwt_secret", "FANFARE_AUTH_ALLOWED_ORIGINS": "https://app.example.com"}
    started.start([*json.loads(entry), *serve], **environment)
    started.waits_for("fanfare_server::serve")
    for port in instructions("EXPOSE")[0].split():
        started.waits_for(f'"address":"0.0.0.0:{port}"')
    done = started.execute(*health, **environment)
    assert done.returncode == 0, done.stderr
    assert started.stop() == 0


def test_the_image_is_built_with_the_profile_and_the_rust_of_the_workspace():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())
    text = (DEPLOY / "Dockerfile").read_text()
    assert f"rust:{workspace['workspace']['package']['rust-version']}-" in text
    [profile] = re.findall(r"--profile (\w+)", text)
    assert profile in workspace["profile"]
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {"!Cargo.toml", "!Cargo.lock", "!crates"} <= set(sent)
    [user] = instructions("USER")
    assert f"--chown={user} /state /var/lib" in text, "the folder of the data, and so a new volume, is the server's"
    done = tool("hadolint", str(DEPLOY / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


# --- Compose ---


@pytest.fixture
def compose():
    return yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())


def test_the_compose_file_is_valid_and_starts_three_nodes(compose, tmp_path):
    done = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose/compose.yaml"))
    assert done.returncode == 0, done.stdout
    nodes = {name: one for name, one in compose["services"].items() if name.startswith("node")}
    assert len(nodes) == 3
    for node in nodes.values():
        environment = {name: re.sub(r"\$\{\w+:[-?]([^}]*)\}", "http://localhost", value) for name, value in node["environment"].items()}
        environment["FANFARE_STORAGE_URL"] = node["environment"]["FANFARE_STORAGE_URL"].replace("${POSTGRES_PASSWORD:?see above}", "secret")
        checked(tmp_path, "", **image_environment(), **environment)
        assert seconds(node["stop_grace_period"]) > seconds(environment["FANFARE_SHUTDOWN_TIMEOUT"])
        assert node["read_only"] and node["volumes"][0].endswith(":/var/lib/fanfare")
    for volume in [volume for one in compose["services"].values() for volume in one.get("volumes", [])]:
        source = volume.split(":")[0]
        assert (DEPLOY / "compose" / source).exists() if source.startswith(".") else source in compose["volumes"], source


def test_compose_shows_the_dashboard_and_the_alerts(compose):
    mounts = lambda name: dict(volume.removesuffix(":ro").split(":") for volume in compose["services"][name]["volumes"])
    grafana, prometheus = mounts("grafana"), mounts("prometheus")
    [provider] = yaml.safe_load((DEPLOY / "compose/grafana-dashboards.yaml").read_text())["providers"]
    dashboard = grafana["../observability/fanfare-dashboard.json"]
    assert dashboard.startswith(provider["options"]["path"] + "/")
    # A provisioned dashboard has no dialog for its data source: a variable selects it.
    variables = json.loads((DEPLOY / "observability/fanfare-dashboard.json").read_text())["templating"]["list"]
    assert "prometheus" in [variable.get("query") for variable in variables if variable["type"] == "datasource"]
    [rules] = yaml.safe_load((DEPLOY / "compose/prometheus.yml").read_text())["rule_files"]
    configuration = pathlib.PurePosixPath(prometheus["./prometheus.yml"])
    assert prometheus["../observability/fanfare-alerts.yml"] == str(configuration.parent / rules)


def test_what_compose_mounts_names_its_services_and_ports(compose):
    listeners = tomllib.loads("listener = " + compose["services"]["node1"]["environment"]["FANFARE_LISTENER"])["listener"]
    ports = {int(listener["bind"].rsplit(":")[-1]) for listener in listeners}
    proxy, scrape = ((DEPLOY / "compose" / name).read_text() for name in ("haproxy.cfg", "prometheus.yml"))
    expected = {(f"node{number}", port) for number in (1, 2, 3) for port in ports}
    assert {(name, int(port)) for name, port in re.findall(r"^    server \w+ (\w+):(\d+)$", proxy, re.M)} == expected
    assert {(name, int(port)) for name, port in re.findall(r'"(\w+):(\d+)"', scrape)} <= expected
    assert "metrics_path: /metrics/prometheus" in scrape
    [bound] = re.findall(r"^    bind :(\d+)", proxy, re.M)
    assert compose["services"]["haproxy"]["ports"] == [f"80:{bound}"]
    done = subprocess.run(
        [program("haproxy", "haproxy"), "-c", "-f", str(DEPLOY / "compose/haproxy.cfg")], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr


# --- Kubernetes ---


@pytest.fixture
def manifests():
    return {one["kind"]: one for one in yaml.safe_load_all(PLAIN.read_text())}


def test_the_manifests_are_valid_for_kubernetes():
    done = tool("kubernetes-validate", "-k", "1.30", "--strict", str(PLAIN))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_of_the_pod_runs_in_a_read_only_root(manifests, container):
    """The command runs with its configuration, in its read-only root."""
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    [one] = pod["containers"]
    text = manifests["ConfigMap"]["data"]["fanfare.toml"]
    entry = json.loads(instructions("ENTRYPOINT")[0])
    mounted = {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}
    started = container({f"{mounted['config']}/fanfare.toml": text, f"{mounted['secret']}/jwt_secret": SECRET})
    assert mounted["data"] == "/var/lib/fanfare" and one["securityContext"]["readOnlyRootFilesystem"]
    environment = dict(pair.split("=", 1) for pair in shlex.split(instructions("ENV")[-1]))
    started.start([*entry, *one["args"]], **environment)
    for port in one["ports"]:
        started.waits_for(f'"address":"0.0.0.0:{port["containerPort"]}"')
    assert started.execute(*entry, "ready", **environment).returncode == 0
    assert started.stop() == 0


def test_the_pod_ends_after_its_drain(manifests):
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    [one] = pod["containers"]
    timeout = tomllib.loads(manifests["ConfigMap"]["data"]["fanfare.toml"])["shutdown"]["timeout"]
    pause = one["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + seconds(timeout)
    names = {port["name"] for port in one["ports"]}
    paths = [(one[probe]["httpGet"]["path"], one[probe]["httpGet"]["port"]) for probe in ("livenessProbe", "readinessProbe", "startupProbe")]
    assert paths == [("/livez", "http"), ("/readyz", "http"), ("/livez", "http")]
    assert {port["targetPort"] for port in manifests["Service"]["spec"]["ports"]} == names


def test_the_variables_and_keys_of_the_manifests_exist(manifests, tmp_path):
    [one] = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    urls = {"FANFARE_BROKER_URL": "redis://redis", "FANFARE_STORAGE_URL": "postgres://fanfare@postgres/fanfare"}
    assert {variable["name"] for variable in one["env"]} == set(urls)
    checked(tmp_path, manifests["ConfigMap"]["data"]["fanfare.toml"], **urls)


def test_the_manifests_are_the_chart_s(manifests):
    """Each line of a template without an instruction is also in the manifests, and so is the configuration."""
    plain = {line.strip() for line in PLAIN.read_text().splitlines()}
    for template in (CHART / "templates").glob("*.yaml"):
        fixed = {line.strip() for line in template.read_text().splitlines() if "{{" not in line}
        optional = {"annotations:", "nodeSelector:", "tolerations:", "affinity:"}
        assert fixed - plain - optional == set(), template.name
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert manifests["ConfigMap"]["data"]["fanfare.toml"].strip() == values["config"].strip()
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == workspace


def test_the_metric_that_scales_exists(manifests, server):
    [metric] = manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert server.prometheus(metric["pods"]["metric"]["name"]) == 0


# --- the workflows ---


@pytest.mark.parametrize("name", ["checks", "release"])
def test_each_workflow_is_valid(name):
    file = ROOT / f".github/workflows/{name}.yml"
    done = tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(file))
    assert done.returncode == 0, done.stdout


def test_the_release_workflow_and_the_image_build_the_same_program():
    text = (ROOT / ".github/workflows/release.yml").read_text()
    image = (DEPLOY / "Dockerfile").read_text()
    assert "--profile dist" in text and "--profile dist" in image, "both ship the same program"
    [flags] = re.findall(r"RUSTFLAGS: (.*)", text)
    assert f'RUSTFLAGS="{flags}"' in image
    for file in re.search(r"cp \"target/.*\" (.*) \"\$name/\"", text)[1].split():
        assert (ROOT / file).exists(), file
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    [script] = re.findall(r"version=\$\((sed .*)\)$", text, re.M)
    assert subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True).stdout == f"{version}\n"


# --- completions and manual pages ---


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "elvish", "powershell"])
def test_completions_are_printed_for_each_shell(shell, tmp_path):
    done = run("completions", shell)
    assert done.returncode == 0 and "serve" in done.stdout and "restore" in done.stdout
    if shell == "bash":
        script = tmp_path / "fanfare"
        script.write_text(done.stdout)
        ask = f'source {script}; COMP_WORDS=(fanfare ba); COMP_CWORD=1; _fanfare fanfare ba fanfare; echo "${{COMPREPLY[@]}}"'
        assert subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=20).stdout == "backup\n"


def test_manual_pages_are_printed_and_written(tmp_path):
    page = run("man")
    assert page.returncode == 0 and ".TH fanfare 1" in page.stdout and "Exit codes" in page.stdout
    assert run("man", str(tmp_path)).returncode == 0
    assert {"fanfare.1", "fanfare-serve.1", "fanfare-key-create.1"} <= {path.name for path in tmp_path.iterdir()}
    missing = run("man", str(tmp_path / "nowhere"))
    assert missing.returncode == 1 and "nowhere" in missing.stderr


def test_completions_and_man_are_hidden_in_the_help():
    assert not re.search(r"^  (completions|man) ", run("--help").stdout, re.M)


@pytest.mark.parametrize("name", ["nginx.conf", "haproxy.cfg", "Caddyfile", "traefik-fanfare.yaml"])
def test_the_command_of_the_page_leaves_one_node(name):
    """One command of docs/operate/README.md makes a configuration for one node from each proxy's file."""
    page = (ROOT / "docs/operate/README.md").read_text()
    command = re.search(r"^    (sed .*) > TARGET$", page, re.M)[1].replace("YOUR.NAME", "push.example.org")
    made = subprocess.run(shlex.split(command.replace("deploy/proxies/FILE", str(DEPLOY / "proxies" / name))), capture_output=True, text=True, check=True).stdout
    assert "10.0.0." not in made and "push.example.com" not in made
    whole = (DEPLOY / "proxies" / name).read_text()
    assert made.count("127.0.0.1") == whole.count("10.0.0.11") > 0, "each use of the first node stays"
    assert made.count("{") == whole.count("{") and made.count("}") == whole.count("}")
