# shellcheck shell=bash
# containerd as Kubernetes uses it: through the CRI, with pods, log files, CNI networking and port mappings.

# shellcheck source=containerd.sh
. "$here/engines/containerd.sh"

export CRI_DIRECTORY=/tmp/cri
cri() { "$here/lib/cri.py" "$@"; }

shared_cgroup=k8s.io

ask() { cri Version; }
start_engine() {
  local plugins=/usr/lib/cni archive
  drop_limits_of_absent_controllers
  [ -e /usr/local/share/cri/api.proto ] || { echo 'this suite has no description of the CRI' >/tmp/log/cri; return 1; }
  mkdir -p "$CRI_DIRECTORY" /etc/containerd /etc/cni/net.d /tmp/podlogs
  # lines that the client has no use for, and that this protoc may not know
  sed -e '/gogoproto/d' -e 's/ *\[ *debug_redact *= *true *\]//' /usr/local/share/cri/api.proto >"$CRI_DIRECTORY/api.proto"
  (cd "$CRI_DIRECTORY" && python3 -m grpc_tools.protoc -I. --python_out=. api.proto) || return 1
  # 'options' is the place of the runtime program in containerd 1 and 2; both read version 2 of the file
  cat >/etc/containerd/config.toml <<TOML
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$plugins"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "tandem"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tandem]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tandem.options]
        BinaryName = "$runtime"
        SystemdCgroup = false
TOML
  cat >/etc/cni/net.d/10-test.conflist <<'JSON'
{"cniVersion": "1.0.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  start_containerd /etc/containerd/config.toml || return 1
  "$here/lib/image.py" "$images/pause.tar" localhost/pause:1 "$images/linux" sleep 1000000
  for archive in linux wasm modules pause; do ctr -n k8s.io image import "$images/$archive.tar" >/dev/null || return 1; done
  within 20 cri Version || return 1
  pod warm-up
  container warm-up main "$linux_image" sleep 100 || return 1
  end_pod warm-up
}

# A pod NAME, with more of its configuration as JSON members. Its id and configuration are kept by name.
pod() { # NAME [MEMBERS]
  printf '{"metadata": {"name": "%s", "uid": "%s", "namespace": "default"}, "log_directory": "/tmp/podlogs", "linux": {}%s}' \
    "$1" "$1" "${2:+, $2}" >"/tmp/pod.$1.json"
  cri RunPodSandbox "{\"config\": $(<"/tmp/pod.$1.json"), \"runtime_handler\": \"\"}" | field pod_sandbox_id >"/tmp/pod.$1.id"
}

# Makes and starts a container of a pod; its id is kept as /tmp/container.POD.NAME.
create() { # POD NAME MEMBERS IMAGE [WORD...]
  local pod=$1 name=$2 members=$3 image=$4 words
  shift 4
  words=$(python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@")
  cri CreateContainer "{\"pod_sandbox_id\": \"$(<"/tmp/pod.$pod.id")\", \"sandbox_config\": $(<"/tmp/pod.$pod.json"), \"config\": {
    \"metadata\": {\"name\": \"$name\"}, \"image\": {\"image\": \"$image\"}, \"args\": $words, \"log_path\": \"$pod.$name.log\",
    \"linux\": {}${members:+, $members}}}" | field container_id >"/tmp/container.$pod.$name"
}
container() { # POD NAME IMAGE [WORD...]
  local pod=$1 name=$2 image=$3
  shift 3
  create "$pod" "$name" '' "$image" "$@"
  cri StartContainer "{\"container_id\": \"$(<"/tmp/container.$pod.$name")\"}" >/dev/null
}
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
status_of() { # POD NAME FIELD
  cri ContainerStatus "{\"container_id\": \"$(<"/tmp/container.$1.$2")\"}" \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["status"].get(sys.argv[1], 0))' "$3"
}
has_exited() { [ "$(status_of "$1" "$2" state)" = CONTAINER_EXITED ]; }
log_has() { grep -q "$3" "/tmp/podlogs/$1.$2.log"; }
stop() { cri StopContainer "{\"container_id\": \"$(<"/tmp/container.$1.$2")\", \"timeout\": 5}"; }
end_pod() {
  [ -s "/tmp/pod.$1.id" ] || return 0
  cri StopPodSandbox "{\"pod_sandbox_id\": \"$(<"/tmp/pod.$1.id")\"}" >/dev/null
  cri RemovePodSandbox "{\"pod_sandbox_id\": \"$(<"/tmp/pod.$1.id")\"}" >/dev/null
}

a_pod_runs_linux_and_wasm_at_the_same_time() {
  trap 'end_pod both' EXIT
  pod both
  container both linux "$linux_image" sh -c "$linux_service"
  container both wasm "$modules_image" /ticker.wasm
  eventually 5 log_has both linux 'linux tick'
  eventually 5 log_has both wasm 'wasm tick'
  same CONTAINER_RUNNING "$(status_of both linux state)" 'state of the linux container'
  same CONTAINER_RUNNING "$(status_of both wasm state)" 'state of the wasm container'
  same 2 "$(cri ListContainers '{"filter": {"state": {"state": "CONTAINER_RUNNING"}}}' | grep -c pod_sandbox_id)" 'containers listed as running'
  at_most 2000 stop both linux
  at_most 2000 stop both wasm
  same 0 "$(status_of both linux exit_code)" 'exit code of the linux container after stop'
  same 143 "$(status_of both wasm exit_code)" 'exit code of the wasm container after stop'
}

exec_runs_a_second_process() {
  trap 'end_pod exec' EXIT
  pod exec
  container exec linux "$linux_image" sh -c "$linux_service"
  container exec wasm "$modules_image" /ticker.wasm
  same said "$(cri exec "$(</tmp/container.exec.linux)" echo said)" 'output of exec'
  try cri exec "$(</tmp/container.exec.linux)" sh -c 'exit 9'
  same 9 "$status" 'exit code of exec'
  same 'hello from wasm' "$(cri exec "$(</tmp/container.exec.wasm)" /hello.wasm)" 'output of exec in the wasm container'
}

exit_codes_come_through() {
  trap 'end_pod codes' EXIT
  pod codes
  container codes linux "$linux_image" sh -c 'exit 42'
  container codes wasm "$modules_image" /exit.wasm 43
  eventually 5 has_exited codes linux
  eventually 5 has_exited codes wasm
  same 42 "$(status_of codes linux exit_code)" 'exit code of the linux container'
  same 43 "$(status_of codes wasm exit_code)" 'exit code of the wasm container'
}

a_stop_without_patience_gives_137() {
  trap 'end_pod kill' EXIT
  pod kill
  local name
  container kill linux "$linux_image" sleep 100
  container kill wasm "$modules_image" /ticker.wasm
  for name in linux wasm; do
    cri StopContainer "{\"container_id\": \"$(<"/tmp/container.kill.$name")\", \"timeout\": 0}" >/dev/null
    same 137 "$(status_of kill $name exit_code)" "exit code of the $name container"
  done
}

a_missing_program_is_refused_in_words() {
  trap 'end_pod missing' EXIT
  pod missing
  try container missing linux "$linux_image" /no/such/program
  [ "$status" != 0 ] || fail 'a missing program ran'
  has "$stderr" 'no such file or directory' 'error'
  same 128 "$(status_of missing linux exit_code)" 'exit code'
}

the_memory_limit_holds() {
  needs_controller memory
  trap 'end_pod fat' EXIT
  pod fat
  local limits='"linux": {"resources": {"memory_limit_in_bytes": 50331648}}'
  create fat linux "$limits" "$linux_image" sh -c 'head -c 200m /dev/zero | tail'
  create fat wasm "$limits" "$modules_image" /grow.wasm
  local name code
  for name in linux wasm; do
    cri StartContainer "{\"container_id\": \"$(<"/tmp/container.fat.$name")\"}" >/dev/null
    eventually 20 has_exited fat $name
    code=$(status_of fat $name exit_code)
    case $name:$code in linux:0 | wasm:0) fail "the $name container took four times its memory" ;; esac
  done
}

a_port_is_published() {
  trap 'end_pod web' EXIT
  pod web '"port_mappings": [{"protocol": "TCP", "container_port": 80, "host_port": 8080}]'
  container web linux "$linux_image" httpd -f -h /www
  local address
  address=$(ip -4 -o addr show cni0 | awk '{sub("/.*", "", $4); print $4}')
  eventually 5 curl -sf "http://$address:8080/"
  same 'served by linux' "$(curl -s "http://$address:8080/")" page
}

a_pod_of_its_own_user_namespace_runs_both_kinds() {
  trap 'end_pod users' EXIT
  pod users '"linux": {"security_context": {"namespace_options": {"userns_options": {"mode": "POD",
    "uids": [{"host_id": 300000, "container_id": 0, "length": 65536}],
    "gids": [{"host_id": 300000, "container_id": 0, "length": 65536}]}}}}' || fail 'the pod does not start'
  local members='"linux": {"security_context": {"namespace_options": {"userns_options": {"mode": "POD",
    "uids": [{"host_id": 300000, "container_id": 0, "length": 65536}],
    "gids": [{"host_id": 300000, "container_id": 0, "length": 65536}]}}}}'
  create users linux "$members" "$linux_image" sh -c 'cat /proc/self/uid_map'
  create users wasm "$members" "$wasm_image" /hello.wasm
  local name
  for name in linux wasm; do
    cri StartContainer "{\"container_id\": \"$(<"/tmp/container.users.$name")\"}" >/dev/null
    eventually 5 has_exited users $name
    same 0 "$(status_of users $name exit_code)" "exit code of the $name container"
  done
  log_has users linux '300000' || fail "the linux container is not in the user namespace: $(</tmp/podlogs/users.linux.log)"
  log_has users wasm 'hello from wasm' || fail 'no output of the wasm container'
}

nothing_is_left_behind() {
  same '{}' "$(cri ListPodSandbox)" 'pods that still exist'
  nothing_is_left
}

cases=(
  a_pod_runs_linux_and_wasm_at_the_same_time
  exec_runs_a_second_process
  exit_codes_come_through
  a_stop_without_patience_gives_137
  a_missing_program_is_refused_in_words
  the_memory_limit_holds
  a_port_is_published
  a_pod_of_its_own_user_namespace_runs_both_kinds
  nothing_is_left_behind
)
