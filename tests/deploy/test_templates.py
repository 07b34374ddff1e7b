"""Job templates and deployments of Docker and Kubernetes, as far as they can be checked without either."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.server.schemas.actions import WorkPoolCreate

from tests.paths import ROOT

DEPLOY = ROOT / "deploy"
VERSION = "0.1.0"


def template(kind: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DEPLOY / f"{kind}-pool.json").read_text())
    return read


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_a_pool_takes_its_template_and_every_variable_is_used(kind: str) -> None:
    read = template(kind)
    WorkPoolCreate(name="bdpo", type=kind, base_job_template=read)  # refuses a placeholder without a variable
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(read["job_configuration"])))
    assert used == read["variables"]["properties"].keys()


def test_gpus_are_limited_and_the_image_is_that_of_this_version() -> None:
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()
    variables = {kind: template(kind)["variables"]["properties"] for kind in ("docker", "kubernetes")}
    for kind in variables:
        assert variables[kind]["image"]["default"] == f"bdpo:{VERSION}"
    (request,) = variables["docker"]["device_requests"]["default"]
    assert request["count"] == variables["kubernetes"]["gpu_limit"]["default"] == 1
    (container,) = template("kubernetes")["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpu_limit }}"


def test_no_memory_limit_ends_a_training_unless_one_is_asked_for_and_the_readme_names_it() -> None:
    for kind, name in (("docker", "mem_limit"), ("kubernetes", "memory_limit")):
        assert template(kind)["variables"]["properties"][name]["default"] is None
        assert f"`{name}`" in (DEPLOY / "README.md").read_text()


def test_a_kubernetes_job_is_one_that_the_cluster_takes() -> None:
    worker = pytest.importorskip("prefect_kubernetes.worker", reason="pip install prefect-kubernetes")
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    made = asyncio.run(
        worker.KubernetesWorkerJobConfiguration.from_template_and_values(
            template("kubernetes"), {"gpu_limit": 8, "command": "prefect flow-run execute", "name": "bdpo"}
        )
    )
    (container,) = made.job_manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 8
    # Prefect fills the rest in when it submits the job, as lists and strings.
    container |= {"args": ["prefect", "flow-run", "execute"], "env": []}
    container["resources"]["limits"]["nvidia.com/gpu"] = "8"
    validate.validate(made.job_manifest, "1.30", strict=True)


@pytest.mark.parametrize("path", [ROOT / "prefect.yaml", DEPLOY / "prefect.yaml"], ids=["own", "deploy"])
def test_no_deployment_has_a_slot_that_a_server_forgets(path: Path) -> None:
    deployments = yaml.safe_load(path.read_text())["deployments"]
    assert [one["name"] for one in deployments if "concurrency_limit" in one] == []


@pytest.mark.parametrize("count", [2, 0])
def test_a_docker_container_gets_its_gpus_or_asks_for_none(count: int) -> None:
    """Where there is no GPU, Docker starts no container that requests one, not even with a count of 0."""
    worker = pytest.importorskip("prefect_docker.worker", reason="pip install prefect-docker")
    requests = [{"driver": "nvidia", "count": count, "capabilities": [["gpu"]]}] if count else []
    made = asyncio.run(
        worker.DockerWorkerJobConfiguration.from_template_and_values(template("docker"), {"device_requests": requests})
    )
    assert made.container_create_kwargs == {"shm_size": "8g", "device_requests": requests}


def test_the_image_has_the_locked_versions_and_the_deployments_their_pools() -> None:
    lines = (DEPLOY / "Dockerfile").read_text()
    assert "--requirement requirements.lock" in lines
    assert re.search(r"^USER bdpo$", lines, re.MULTILINE)
    read = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())
    assert {entry["name"]: entry["work_pool"]["name"] for entry in read["deployments"]} == {
        "docker": "bdpo-docker",
        "kubernetes": "bdpo-kubernetes",
        "kubernetes-score": "bdpo-kubernetes",
    }
    for entry in read["deployments"]:
        file, _, flow = entry["entrypoint"].partition(":")
        assert f"def {flow}(" in (ROOT / Path(file)).read_text()


def test_the_image_gets_every_file_of_the_project() -> None:
    """In Docker's patterns `**/` is any folders or none, and what is left out takes all below it along.

    The file lies in the project's folder: one beside the Dockerfile is read by BuildKit alone.
    """
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    regular = [
        re.escape(line).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*") + "(?:/.*)?"
        for line in lines
        if line and not line.startswith("#")
    ]
    left_out = re.compile("|".join(regular))
    assert left_out.fullmatch("bdpo/data/__pycache__/x.pyc")
    assert left_out.fullmatch("artifacts/bdpo.duckdb")
    assert left_out.fullmatch(".git")
    assert left_out.fullmatch(".deepspeed_env")
    assert left_out.fullmatch("deploy/.env.local")
    tracked = subprocess.run(["/usr/bin/env", "git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("this is no checkout of git")
    assert not [name for name in tracked.stdout.splitlines() if left_out.fullmatch(name)]
