"""Models by name: the package's, the user's, and those of a fake Hugging Face Hub."""

import dataclasses
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from mamkpd_jax.artifact import named
from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.artifact.weight_files import save
from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.errors import UserError

SHIPPED = ("animals", "people")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(named.FOLDER_VARIABLE, str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def weights(random_weights) -> Artifact:
    model = ModelConfig(stem=False, depths=(1,), dims=(8,), decoder_dim=8)
    return random_weights(Config(model=model, data=DataConfig(input_hw=(64, 48))))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_load(name):
    artifact = read_artifact(name)
    path = named.find(name)
    assert path.stat().st_size <= 4 * 2**20
    with safe_open(path, framework="numpy") as file:
        assert "BF16" in {file.get_slice(key).get_dtype() for key in file.keys()}
    assert artifact.skeleton.name == {"people": "lspet", "animals": "animalpose"}[name]
    root = artifact.config.data.root
    assert not Path(root).is_absolute() and not Path(artifact.config.data.build_dir).is_absolute(), root


def test_package_names_come_first(weights):
    assert named.names() == list(SHIPPED)
    named.add("mine", weights)
    assert named.names() == [*SHIPPED, "mine"]


def test_an_added_model_is_found_by_its_name(weights, user_folder):
    path = named.add("mine", weights)
    assert path.parent == user_folder and path == named.find("mine")
    found = read_artifact("mine")
    np.testing.assert_array_equal(
        found.params["decoder"]["head"]["kernel"], weights.params["decoder"]["head"]["kernel"]
    )
    named.add("mine", dataclasses.replace(found, step=8))
    assert read_artifact("mine").step == 8 and not path.exists(), "it is replaced"


@pytest.mark.parametrize("name", ["people", "a b", "../a", "", "a.b", "Mine"])
def test_bad_names_are_refused(name, weights, user_folder):
    with pytest.raises(UserError, match="is a model of the package|expected lower-case letters, digits"):
        named.add(name, weights)
    assert not user_folder.exists()


def test_a_damaged_model_is_refused(weights, tmp_path, monkeypatch):
    path = named.add("mine", weights)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"mine.*safetensors is damaged .*; add it again by `mamkpd models --add=mine"):
        read_artifact("mine")
    path.unlink()
    with pytest.raises(UserError, match="can't be read"):
        read_artifact("mine")
    (path.parent / "mine.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="is not the card of a model"):
        read_artifact("mine")

    shutil.copytree(named._PACKAGE, tmp_path / "package")
    monkeypatch.setattr(named, "_PACKAGE", tmp_path / "package")
    (tmp_path / "package" / "people.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="people.safetensors is damaged .*; install mamkpd_jax again"):
        read_artifact("people")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="peple is no model, folder or file; expected animals, people, hf://OWNER"):
        read_artifact("peple")


def test_best_and_noema_need_a_run(tmp_path, weights):
    save(weights, tmp_path / "model.safetensors")
    for choice, flag in ({"best": True}, "--best"), ({"ema": False}, "--noema"):
        with pytest.raises(UserError, match=f"model.safetensors is not the folder .* leave out {flag}, which"):
            read_artifact(tmp_path / "model.safetensors", **choice)


def test_other_suffixes_are_refused(tmp_path):
    (tmp_path / "model.ckpt").touch()
    with pytest.raises(UserError, match=r"nor one of \.safetensors, \.pth, \.pt"):
        read_artifact(tmp_path / "model.ckpt")


def test_unfinished_files_are_no_models(weights, user_folder):
    named.add("mine", weights)
    (user_folder / "mine.partial.json").write_text("{", encoding="utf-8")  # as a killed process leaves it
    assert named.names() == [*SHIPPED, "mine"]


def test_adding_and_reading_at_once(weights):
    named.add("mine", weights)
    with ThreadPoolExecutor(4) as pool:
        adding = [pool.submit(named.add, "mine", dataclasses.replace(weights, step=i)) for i in range(8)]
        reading = [pool.submit(named.read_card, "mine") for _ in range(40)]
        assert all(future.result() for future in (*adding, *reading))
    assert named.find("mine").exists()


def test_a_name_takes_precedence_over_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").mkdir()
    assert named.find("people").suffix == ".safetensors"
    assert named.find("./people") == named.find(Path("people")) == Path("people")


class _Hub(http.server.BaseHTTPRequestHandler):
    """A fake Hub with one repository of one file, so that the tests need no network."""

    content = b""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        there = self.path in (
            "/someone/poses/resolve/main/model.safetensors",
            f"/someone/poses/resolve/{COMMIT}/m.safetensors",
        )
        self.send_response(200 if there else 404)
        if there:
            self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        else:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(self.content) if there else 0))
        self.end_headers()
        if with_body and there:
            self.wfile.write(self.content)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def hub(weights, tmp_path):
    """Runs `find` on an address in a new process, against the fake Hub; returns the completed process."""
    pytest.importorskip("huggingface_hub")
    save(weights, tmp_path / "model.safetensors")
    _Hub.content = (tmp_path / "model.safetensors").read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf")}

        def find(address: str, **more: str) -> subprocess.CompletedProcess:
            code = f"from mamkpd_jax.artifact.named import find; print(find({address!r}))"
            environment = os.environ | place | more
            return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

        yield find
        server.shutdown()


def test_hub_models_are_downloaded_and_cached(hub, weights):
    done = hub("hf://someone/poses")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.read_bytes() == _Hub.content and read_artifact(path).step == weights.step
    assert hub("hf://someone/poses", HF_HUB_OFFLINE="1").stdout == done.stdout, "it is cached"
    other = hub(f"hf://someone/poses@{COMMIT}/m.safetensors")
    assert other.returncode == 0 and Path(other.stdout.strip()).name == "m.safetensors", other.stderr


def test_a_missing_hub_model_is_one_line(hub):
    for address in ("hf://someone/other", "hf://someone"):
        done = hub(address)
        *_, last = done.stderr.strip().splitlines()
        assert done.returncode == 1 and last.startswith("mamkpd_jax.errors.UserError: hf://someone"), done.stderr


def test_cards_have_what_the_list_shows():
    for name in SHIPPED:
        about = named.read_card(name).about
        assert all(isinstance(about[field], str) and about[field] for field in ("finds", "speed", "score"))
