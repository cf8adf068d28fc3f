# shellcheck shell=bash
# Docker Engine: dockerd, which starts a containerd of its own, with the runtime as default and under the name "tandem".
cli=docker
named=(run --runtime tandem)

# shellcheck source=docker_like.sh
. "$here/engines/docker_like.sh"

# Docker 26 takes every failure of exec for 126, with runc as well; 28 tells them apart.
exec_code_of_a_missing_program() {
  if [ "$(docker version -f '{{.Server.Version}}' | cut -d . -f 1)" -ge 28 ]; then echo 127; else echo 126; fi
}

shared_cgroup=docker

ask() { docker version; }
start_engine() {
  local network=true
  mkdir -p /etc/docker
  # without the kernel's NAT table, docker-proxy alone serves the published ports
  iptables -t nat -L >/dev/null 2>&1 || network=false
  cat >/etc/docker/daemon.json <<JSON
{
  "default-runtime": "tandem",
  "runtimes": {"tandem": {"path": "$runtime"}},
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "iptables": $network,
  "ip6tables": false
}
JSON
  dockerd >/tmp/log/dockerd 2>&1 &
  within 30 docker version || return 1
  local archive
  for archive in linux wasm modules; do docker load -q -i "$images/$archive.tar" >/dev/null || return 1; done
  # what the first container makes for good (a parent cgroup, directories) is not what a container leaves
  docker run --rm "$linux_image" true
}

engine_version() { docker version -f 'Docker {{.Server.Version}}'; }

compose_lets_linux_and_wasm_talk_through_a_volume() {
  local compose
  if docker compose version >/dev/null 2>&1; then compose=(docker compose); else
    command -v docker-compose >/dev/null || skip 'this suite has no docker compose'
    compose=(docker-compose)
  fi
  compose+=(-p talk -f "$here/engines/compose.yaml")
  # shellcheck disable=SC2064 # the command is known now
  trap "${compose[*]} down -v -t 1 >/dev/null 2>&1" EXIT
  "${compose[@]}" up -d >/dev/null 2>/tmp/compose.err || fail "$(</tmp/compose.err)"
  same 'linux wasm' "$("${compose[@]}" ps --services --status running | sort | paste -sd ' ')" 'services that run'
  eventually 10 logs_have talk-linux-1 'wasm answers: who is there'
  at_most 4000 "${compose[@]}" stop
}

cases=("${common_cases[@]}" compose_lets_linux_and_wasm_talk_through_a_volume nothing_is_left_behind)
