# shellcheck shell=bash
# containerd with its own client, ctr, which names the runtime program in each call.

linux_service='trap "echo linux ends; exit 0" TERM; while :; do echo linux tick; sleep 0.2; done'

start_containerd() { # CONFIG-FILE
  containerd --config "$1" >/tmp/log/containerd 2>&1 &
  within 30 ctr version
}

shared_cgroup=default

ask() { ctr version; }
start_engine() {
  local archive
  drop_limits_of_absent_controllers
  start_containerd /dev/null || return 1
  for archive in linux wasm modules; do ctr image import "$images/$archive.tar" >/dev/null || return 1; done
  run --rm "$linux_image" warm-up true
}

engine_version() { ctr version | awk '/Version/ {v = $2} END {print "containerd", v}'; }

run() { ctr run --runc-binary "$runtime" "$@"; }
task_status() { ctr task ls | awk -v id="$1" '$1 == id {print $3}'; }
is_in_status() { [ "$(task_status "$1")" = "$2" ]; }
remove() {
  local name
  for name in "$@"; do
    ctr task rm -f "$name" >/dev/null 2>&1 || true
    ctr container rm "$name" >/dev/null 2>&1 || true
  done
}
# Signals a task and prints the exit code that it ends with.
end_with() { # SIGNAL ID
  ctr task kill -s "$1" "$2"
  within 2 is_in_status "$2" STOPPED || fail "$2 did not end within 2 s of $1"
  # says the exit code unless it is 0
  ctr task rm "$2" 2>&1 | { grep -oE 'exit (status|code) [0-9]+' || echo exit code 0; } | awk '{print $3}'
}

a_linux_image_runs() {
  same hi "$(run --rm "$linux_image" hi echo hi)" output
}

a_wasm_image_runs() {
  same 'hello from wasm' "$(run --rm "$wasm_image" wasm-hello)" output
}

linux_and_wasm_run_at_the_same_time() {
  trap 'remove both-linux both-wasm' EXIT
  rm -f /tmp/both-linux.log /tmp/both-wasm.log
  run -d --log-uri file:///tmp/both-linux.log "$linux_image" both-linux sh -c "$linux_service"
  run -d --log-uri file:///tmp/both-wasm.log "$modules_image" both-wasm
  eventually 5 grep -q 'linux tick' /tmp/both-linux.log
  eventually 5 grep -q 'wasm tick' /tmp/both-wasm.log
  local linux wasm
  linux=$(wc -l </tmp/both-linux.log) wasm=$(wc -l </tmp/both-wasm.log)
  sleep 0.5
  [ "$(wc -l </tmp/both-linux.log)" -gt "$linux" ] || fail 'the linux container stands still'
  [ "$(wc -l </tmp/both-wasm.log)" -gt "$wasm" ] || fail 'the wasm container stands still'
  same RUNNING "$(task_status both-linux)" 'status of the linux container in ctr task ls'
  same RUNNING "$(task_status both-wasm)" 'status of the wasm container in ctr task ls'
  [ "$(ctr task ps both-wasm | wc -l)" -ge 2 ] || fail 'ctr task ps shows no process of the wasm container'
  same 0 "$(end_with SIGTERM both-linux)" 'exit code of the linux container after SIGTERM'
  same 143 "$(end_with SIGTERM both-wasm)" 'exit code of the wasm container after SIGTERM'
  grep -q 'linux ends' /tmp/both-linux.log || fail 'no last words of the linux container'
}

exec_runs_a_second_process() {
  trap 'remove exec-linux exec-wasm' EXIT
  run -d --log-uri file:///dev/null "$linux_image" exec-linux sh -c "$linux_service"
  run -d --log-uri file:///dev/null "$modules_image" exec-wasm
  same said "$(ctr task exec --exec-id one exec-linux echo said)" 'output of exec'
  try ctr task exec --exec-id two exec-linux sh -c 'exit 9'
  same 9 "$status" 'exit code of exec'
  same 'hello from wasm' "$(ctr task exec --exec-id one exec-wasm /hello.wasm)" 'output of exec in the wasm container'
}

exit_codes_come_through() {
  local code
  for code in 0 1 42 255; do
    try run --rm "$linux_image" code-linux sh -c "exit $code"
    same "$code" "$status" 'exit code of a linux container'
    try run --rm "$modules_image" code-wasm /exit.wasm "$code"
    same "$code" "$status" 'exit code of a wasm container'
  done
  try run --rm "$modules_image" code-trap /trap.wasm
  same 134 "$status" "exit code of a trap ($stderr)"
}

kill_gives_137() {
  trap 'remove kill-linux kill-wasm' EXIT
  run -d --log-uri file:///dev/null "$linux_image" kill-linux sleep 100
  run -d --log-uri file:///dev/null "$modules_image" kill-wasm
  same 137 "$(end_with SIGKILL kill-linux)" 'exit code of the linux container'
  same 137 "$(end_with SIGKILL kill-wasm)" 'exit code of the wasm container'
}

bad_input_is_refused_in_words() {
  trap 'remove bad' EXIT
  local command
  for command in '/no/such/program:no such file or directory' 'no-such-program:executable file not found' '/etc/plain:permission denied'; do
    try run --rm "$linux_image" bad "${command%%:*}"
    [ "$status" != 0 ] || fail "${command%%:*} ran"
    has "$stderr" "${command#*:}" "error of ${command%%:*}"
    remove bad
  done
  try run --rm --mount type=bind,src=/no/such/directory,dst=/mnt,options=rbind:ro "$linux_image" bad true
  [ "$status" != 0 ] || fail 'a mount without a source was made'
  has "$stderr" '/no/such/directory' 'error of the mount'
}

a_terminal_is_given_to_both_kinds() {
  local seen
  seen=$(at_a_terminal ready words ctr run --runc-binary "$runtime" --rm -t "$linux_image" tty-linux \
    sh -c 'tty; echo ready; read -r line; echo "linux heard: $line"')
  has "$seen" /dev/pts/0 'terminal of the linux container'
  has "$seen" 'linux heard: words' 'what the linux container heard'
  seen=$(at_a_terminal 'wasm listens' words ctr run --runc-binary "$runtime" --rm -t "$modules_image" tty-wasm /hear.wasm)
  has "$seen" 'wasm heard: words' 'what the wasm container heard'
}

the_memory_limit_holds() {
  needs_controller memory
  try run --rm --memory-limit $((48 << 20)) "$linux_image" fat-linux sh -c 'head -c 200m /dev/zero | tail'
  [ "$status" != 0 ] || fail 'a linux container took four times its memory'
  try run --rm --memory-limit $((48 << 20)) "$modules_image" fat-wasm /grow.wasm
  [ "$status" = 3 ] || [ "$status" = 137 ] || fail "a wasm container took four times its memory ($status, $stdout, $stderr)"
}

the_pids_limit_holds() {
  skip 'ctr has no flag for it: the docker and podman cases have it'
}

pause_stops_both_kinds_and_resume_goes_on() {
  trap 'remove pause-linux pause-wasm' EXIT
  local name lines
  rm -f /tmp/pause-linux.log /tmp/pause-wasm.log
  run -d --log-uri file:///tmp/pause-linux.log "$linux_image" pause-linux sh -c "$linux_service"
  run -d --log-uri file:///tmp/pause-wasm.log "$modules_image" pause-wasm
  for name in pause-linux pause-wasm; do
    eventually 5 grep -q tick /tmp/$name.log
    ctr task pause $name
    same PAUSED "$(task_status $name)" "status of $name"
    lines=$(wc -l </tmp/$name.log)
    sleep 0.6
    same "$lines" "$(wc -l </tmp/$name.log)" "lines of $name while paused"
    ctr task resume $name
    sleep 0.6
    [ "$(wc -l </tmp/$name.log)" -gt "$lines" ] || fail "$name does not go on"
  done
}

an_image_of_the_wasi_platform_runs() {
  trap 'ctr image rm localhost/wasi:1 >/dev/null 2>&1' EXIT
  "$here/lib/image.py" /tmp/wasi.tar localhost/wasi:1 "$images/wasm" /hello.wasm --platform=wasi/wasm
  ctr image import --platform wasi/wasm /tmp/wasi.tar >/dev/null
  same 'hello from wasm' "$(run --rm --platform wasi/wasm localhost/wasi:1 wasi-hello)" output
}

nothing_is_left_behind() {
  same '' "$(ctr container ls -q)" 'containers that still exist'
  nothing_is_left
}

cases=(
  a_linux_image_runs
  a_wasm_image_runs
  linux_and_wasm_run_at_the_same_time
  exec_runs_a_second_process
  exit_codes_come_through
  kill_gives_137
  bad_input_is_refused_in_words
  a_terminal_is_given_to_both_kinds
  the_memory_limit_holds
  the_pids_limit_holds
  pause_stops_both_kinds_and_resume_goes_on
  an_image_of_the_wasi_platform_runs
  nothing_is_left_behind
)
