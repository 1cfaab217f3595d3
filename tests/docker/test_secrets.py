"""`make_secrets.py`, run as the container runs it, and Redis on the configuration that it writes."""

import importlib.util
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest
import redis
from pydantic import SecretStr
from redis.exceptions import NoPermissionError

from services.common.keys import load_keys
from services.common.rate_limits import RateLimits
from services.common.settings import ServiceSettings
from shared.jobs import open_redis
from shared.jobs.rq import QueueKeys
from shared.settings import QueueSettings
from stack.redis_server import CONFIGURATION, find_redis, write_redis_config

DOCKER = Path(__file__).parents[2] / "docker"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_secrets", DOCKER / "make_secrets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert maker.main([], tmp_path, CONFIGURATION) == 0
    assert capsys.readouterr() == ("", "")
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_modes_let_each_reader_in_and_nobody_else(folder: Path) -> None:
    assert mode(folder / "redis-service/password") == 0o400
    assert mode(folder / "redis-worker/password") == 0o400
    assert mode(folder / "redis/admin.password") == 0o440
    assert mode(folder / "redis/redis.conf") == 0o440
    assert mode(folder / "api/api.keys") == 0o640
    assert mode(folder / "caller/api.key") == 0o400
    assert mode(folder / "prometheus/api.key") == 0o440
    assert mode(folder / "grafana/password") == 0o440
    assert len(list(folder.rglob("*"))) == 16, "no draft is left behind"


def test_the_services_accept_the_key_that_show_prints(
    maker: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert maker.main(["show"], folder) == 0
    key = capsys.readouterr().out.strip()
    keys = load_keys(ServiceSettings(api_keys_file=folder / "api/api.keys"))
    assert keys.owner(key) == maker.CALLER
    assert keys.owner(key[:-1]) is None
    assert key not in (folder / "api/api.keys").read_text()
    scraper = (folder / "prometheus/api.key").read_text().strip()
    assert keys.owner(scraper) is None
    assert keys.scraper(scraper) == maker.SCRAPER
    assert keys.scraper(key) is None
    assert maker.main(["grafana"], folder) == 0
    assert capsys.readouterr().out.strip() == (folder / "grafana/password").read_text().strip()


def test_a_second_start_changes_no_secret(maker: ModuleType, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert maker.main([], folder, CONFIGURATION) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_lost_key_is_replaced_and_other_callers_keep_theirs(maker: ModuleType, folder: Path) -> None:
    stored = folder / "api/api.keys"
    lost, scraper = stored.read_text().splitlines(keepends=True)
    other = f"alice:sha256:{'0' * 64}\n"
    stored.write_text(lost + scraper + other)
    (folder / "caller/api.key").unlink()
    assert maker.main([], folder, CONFIGURATION) == 0
    assert other in stored.read_text()
    assert scraper in stored.read_text()
    assert lost not in stored.read_text()
    assert [name for name, _ in load_keys(ServiceSettings(api_keys_file=stored)).entries] == ["alice", maker.CALLER]


def test_other_arguments_are_refused(maker: ModuleType, tmp_path: Path) -> None:
    assert maker.main(["--show"], tmp_path) == 2
    assert not list(tmp_path.iterdir())


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as short:  # a socket's path has a limit
        socket = f"{short}/redis.sock"
        here = ["--port", "0", "--unixsocket", socket, "--loglevel", "warning"]
        server = subprocess.Popen([find_redis(), str(folder / "redis/redis.conf"), *here], cwd=short)
        try:
            for _ in range(300):
                if Path(socket).exists():
                    break
                time.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
def connect(maker: ModuleType, folder: Path, address: str) -> Iterator[Callable[[str], redis.Redis]]:
    """A client as one of the users, with the password that the user's container gets."""
    with ExitStack() as stack:

        def connect(user: str) -> redis.Redis:
            password = maker.passwords(folder)[user].read_text().strip()
            return stack.enter_context(redis.Redis.from_url(address, username=user, password=password))

        yield connect


Connect = Callable[[str], redis.Redis]


def test_redis_runs_on_the_configuration_and_wants_a_password(folder: Path, address: str, connect: Connect) -> None:
    with redis.Redis.from_url(address) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert not [path for path in passwords_in(folder) if path.read_text().strip() in conf(folder)]
    client = connect("admin")
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
    assert {name: client.config_get(name)[name] for name in wanted} == wanted
    assert client.config_get("maxmemory")["maxmemory"] == str(1024**3)


def conf(folder: Path) -> str:
    return (folder / "redis/redis.conf").read_text()


def passwords_in(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("redis*/*") if "password" in path.name]
    assert len(found) == 4
    return found


@pytest.mark.parametrize("user", ["service", "worker"])
def test_the_settings_of_the_containers_open_redis_as_their_user(folder: Path, address: str, user: str) -> None:
    url = address.replace("//", f"//{user}@")
    password = folder / f"redis-{user}/password"
    with open_redis(QueueSettings(redis_url=SecretStr(url), redis_password_file=password)) as client:
        assert client.ping()
        with pytest.raises(NoPermissionError):
            client.execute_command("ACL", "LIST")


def test_the_health_check_needs_no_password_and_can_do_nothing_else(address: str) -> None:
    with redis.Redis.from_url(address, username="probe", password="none") as client:
        assert client.ping()
        for command in ("INFO", "DBSIZE", "GET x"):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command.split())


FORBIDDEN = {
    "service": [
        "SET ddsr:worker:evil announcement",  # would be a key to seal to
        "DEL ddsr:worker:one",
        "LRANGE rq:queue:ddsr 0 -1",
        "HSET rq:workers x y",
        "GET other",
        "PUBLISH other x",
    ],
    "worker": [
        "SUBSCRIBE ddsr:ended",
        "SET ddsr:idempotency:x y",
        "DEL ddsr:limits:x",
        "ZRANGE ddsr:jobs:hide:alice 0 -1",
        "GET other",
        "SORT rq:queue:ddsr",
    ],
    "scaler": ["LPUSH rq:queue:ddsr x", "GET ddsr:job:x", "LLEN ddsr:webhooks"],
}
EVERYBODY = ["KEYS *", "SCAN 0", "FLUSHALL", "CONFIG GET *", "ACL LIST", "MONITOR", "SHUTDOWN", "CLIENT KILL 1:1"]
EVERYBODY += ["FUNCTION FLUSH", "SCRIPT FLUSH", "DEBUG SLEEP 0", "REPLICAOF a 1", "RANDOMKEY", "SUBSCRIBE x"]


@pytest.mark.parametrize("user", FORBIDDEN)
def test_what_a_user_may_not_do(connect: Connect, user: str) -> None:
    admin = connect("admin")
    for command in FORBIDDEN[user] + EVERYBODY:
        answer = admin.execute_command("ACL", "DRYRUN", user, *command.split())
        assert b"no permissions" in answer, command


def test_a_script_gives_no_more_than_its_user_has(connect: Connect) -> None:
    service = connect("service")
    assert service.eval("return redis.call('LLEN', KEYS[1])", 1, "rq:queue:ddsr") == 0
    for script in ("return redis.call('KEYS', '*')", "return redis.call('SET', 'ddsr:worker:evil', 'x')"):
        with pytest.raises(redis.ResponseError, match=r"[Nn]o permissions"):
            service.eval(script, 0)


def test_the_rate_limit_goes_on_past_its_first_window(connect: Connect) -> None:
    """Its script renames a counter when a window begins."""
    limits = RateLimits(connect("service"), ServiceSettings(rate_limit="100/second"))
    for _ in range(12):
        limits.check("submit", "alice")
        time.sleep(0.2)


def test_the_scaler_reads_the_length_of_the_queue(connect: Connect) -> None:
    """By a script that asks for the type first, as KEDA does."""
    script = (
        "local t = redis.call('type', KEYS[1]).ok; if t == 'none' then return 0 end return redis.call('llen', KEYS[1])"
    )
    scaler, queue = connect("scaler"), QueueKeys.of(QueueSettings()).waiting
    assert scaler.eval(script, 1, queue) == 0
    connect("service").rpush(queue, "one", "two")
    assert scaler.eval(script, 1, queue) == 2


def test_the_container_keeps_jobs_as_ddsr_up_does(tmp_path: Path) -> None:
    local = write_redis_config(tmp_path, tmp_path / "socket", "x").read_text().splitlines()
    container = CONFIGURATION.read_text().splitlines()
    where = (
        "port",
        "unixsocket",
        "unixsocketperm",
        "requirepass",
        "dir",
        "loglevel",
        "bind",
        "protected-mode",
        "user",
        "#",
    )
    assert [line for line in local if line.split()[0] not in where] == [
        line for line in container if line and line.split()[0] not in where
    ]
