# shellcheck shell=bash
# Podman: no daemon; conmon watches each container. The runtime is its default, under the name "tandem".
cli=podman
named=(--runtime tandem run)

# shellcheck source=docker_like.sh
. "$here/engines/docker_like.sh"

export PODMAN_IGNORE_CGROUPSV1_WARNING=1
own_leftovers='/run/libpod/(persist|infra-container)'

# without the ten seconds that podman gives a container which ignores SIGTERM
remove() { podman rm -f -t 0 "$@" >/dev/null 2>&1 || true; }

shared_cgroup=libpod_parent

ask() { podman version; }
start_engine() {
  local archive pids=2048
  mkdir -p /etc/containers
  # podman gives every container a pids limit, which a v2 tree without that controller cannot keep
  [ "$WORLD_CGROUP" = v1 ] || grep -qw pids /sys/fs/cgroup/cgroup.controllers || pids=0
  cat >/etc/containers/containers.conf <<TOML
[containers]
pids_limit = $pids
# nothing may ask for more than the hard limit in force, which only CAP_SYS_RESOURCE could raise
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=$(ulimit -Hu):$(ulimit -Hu)"]
[engine]
runtime = "tandem"
cgroup_manager = "cgroupfs"
events_logger = "file"
# podman knows by name which runtimes can write a JSON log
runtime_supports_json = ["tandem"]
# images that say wasi/wasm: podman would look for a runtime of another name
platform_to_oci_runtime = { "wasi/wasm" = "tandem" }
[engine.runtimes]
tandem = ["$runtime"]
TOML
  printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' \
    >/etc/containers/storage.conf
  echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json
  for archive in linux wasm modules; do podman load -q -i "$images/$archive.tar" >/dev/null || return 1; done
  # what the first container makes for good (a parent cgroup, directories, a network) is not what a container leaves
  podman run --rm "$linux_image" true
}

engine_version() { podman version -f 'Podman {{.Client.Version}}'; }

a_pod_holds_both_kinds() {
  trap 'podman pod rm -f -t 1 pair >/dev/null 2>&1' EXIT
  # the pod's own container needs no image: podman makes its root directory from catatonit
  podman pod create --name pair >/dev/null
  podman run -d --pod pair --name pair-web "$linux_image" httpd -f -p 80 -h /www >/dev/null
  podman run -d --pod pair --name pair-wasm "$modules_image" >/dev/null
  eventually 5 logs_have pair-wasm 'wasm tick'
  same 'served by linux' "$(podman run --rm --pod pair "$linux_image" wget -q -O - http://127.0.0.1/)" 'page within the pod'
  same Running "$(podman pod inspect -f '{{.State}}' pair)" 'state of the pod'
  at_most 8000 podman pod stop -t 1 pair
}

an_image_of_the_wasi_platform_runs() {
  trap 'podman rmi -f localhost/wasi:1 >/dev/null 2>&1' EXIT
  "$here/lib/image.py" /tmp/wasi.tar localhost/wasi:1 "$images/wasm" /hello.wasm --platform=wasi/wasm
  podman load -q -i /tmp/wasi.tar >/dev/null
  same 'hello from wasm' "$(podman run --rm --platform wasi/wasm localhost/wasi:1)" 'output'
}

cases=("${common_cases[@]}" a_pod_holds_both_kinds an_image_of_the_wasi_platform_runs nothing_is_left_behind)
