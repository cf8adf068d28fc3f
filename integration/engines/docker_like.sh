# shellcheck shell=bash
# Cases for engines with docker's command line: "$cli" is `docker` or `podman`. Each case removes what it made.

cli=${cli:?the engine names its command}

# A Linux service that ends at SIGTERM as services do, and says that it lives.
linux_service='trap "echo linux ends; exit 0" TERM; while :; do echo linux tick; sleep 0.2; done'

# An engine may know another one, whatever the runtime says.
exec_code_of_a_missing_program() { echo 127; }

is_running() { same true "$("$cli" inspect -f '{{.State.Running}}' "$1")" "is $1 running"; }
exit_code_of() { "$cli" inspect -f '{{.State.ExitCode}}' "$1"; }
logs_have() { "$cli" logs "$1" 2>&1 | grep -q "$2"; }
remove() { "$cli" rm -f "$@" >/dev/null 2>&1 || true; }
# "$cli" decides by itself which of its own messages surround the runtime's error: look for the runtime's part only
refuses() { # WANTED-STATUS TEXT ARGUMENTS-OF-RUN...
  local wanted=$1 text=$2
  shift 2
  try "$cli" run --rm "$@"
  same "$wanted" "$status" "exit status of run $* ($stderr)"
  has "$stderr" "$text" "error of run $*"
}

a_linux_image_runs() {
  same hi "$("$cli" "${named[@]}" --rm "$linux_image" echo hi)" 'output'
}

a_wasm_image_runs() {
  same 'hello from wasm' "$("$cli" "${named[@]}" --rm "$wasm_image")" 'output'
}

linux_and_wasm_run_at_the_same_time() {
  trap 'remove both-linux both-wasm' EXIT
  "$cli" run -d --name both-linux "$linux_image" sh -c "$linux_service" >/dev/null
  "$cli" run -d --name both-wasm "$modules_image" >/dev/null
  eventually 5 logs_have both-linux 'linux tick'
  eventually 5 logs_have both-wasm 'wasm tick'
  # each goes on while the other runs
  local linux wasm
  linux=$("$cli" logs both-linux | wc -l) wasm=$("$cli" logs both-wasm | wc -l)
  sleep 0.5
  [ "$("$cli" logs both-linux | wc -l)" -gt "$linux" ] || fail 'the linux container stands still'
  [ "$("$cli" logs both-wasm | wc -l)" -gt "$wasm" ] || fail 'the wasm container stands still'
  same 'both-linux both-wasm' "$("$cli" ps --format '{{.Names}}' | sort | paste -sd ' ')" "names in $cli ps"
  has "$("$cli" top both-linux)" 'linux tick' "$cli top of the linux container"
  has "$("$cli" top both-wasm)" '/ticker.wasm' "$cli top of the wasm container"
  at_most 2000 "$cli" stop both-linux
  at_most 2000 "$cli" stop both-wasm
  same 0 "$(exit_code_of both-linux)" 'exit code of the linux container after stop'
  same 143 "$(exit_code_of both-wasm)" 'exit code of the wasm container after stop'
  has "$("$cli" logs both-linux 2>&1)" 'linux ends' 'last words of the linux container'
}

exec_runs_a_second_process() {
  trap 'remove exec-linux' EXIT
  "$cli" run -d --name exec-linux -e GREETING=moin "$linux_image" sh -c "$linux_service" >/dev/null
  same 'moin' "$("$cli" exec exec-linux sh -c 'echo $GREETING')" 'output of exec'
  same 'uid=1000(worker) gid=1000(worker)' "$("$cli" exec -u worker exec-linux id | sed 's/ groups.*//')" 'user of exec'
  same '/tmp' "$("$cli" exec -w /tmp exec-linux pwd)" 'directory of exec'
  same 'said' "$(echo said | "$cli" exec -i exec-linux cat)" 'standard input of exec'
  try "$cli" exec exec-linux sh -c 'exit 9'
  same 9 "$status" 'exit code of exec'
  try "$cli" exec exec-linux sh -c 'kill -9 $$'
  same 137 "$status" 'exit code of a killed exec'
}

exec_runs_a_second_module_in_a_wasm_container() {
  trap 'remove exec-wasm' EXIT
  "$cli" run -d --name exec-wasm "$modules_image" >/dev/null
  same 'hello from wasm' "$("$cli" exec exec-wasm /hello.wasm)" 'output of exec'
  try "$cli" exec exec-wasm /exit.wasm 7
  same 7 "$status" 'exit code of exec'
}

exec_of_a_missing_program_gives_127_and_of_a_plain_file_126() {
  trap 'remove exec-bad' EXIT
  "$cli" run -d --name exec-bad "$linux_image" sh -c "$linux_service" >/dev/null
  try "$cli" exec exec-bad /no/such/program
  same "$(exec_code_of_a_missing_program)" "$status" "exit status of exec of a missing program ($stderr)"
  try "$cli" exec exec-bad /etc/plain
  same 126 "$status" "exit status of exec of a plain file ($stderr)"
  is_running exec-bad
}

exit_codes_come_through() {
  local code
  for code in 0 1 42 255; do
    try "$cli" run --rm "$linux_image" sh -c "exit $code"
    same "$code" "$status" 'exit code of a linux container'
    try "$cli" run --rm "$modules_image" /exit.wasm "$code"
    same "$code" "$status" 'exit code of a wasm container'
  done
  try "$cli" run --rm "$modules_image" /trap.wasm
  same 134 "$status" "exit code of a trap ($stderr)"
  has "$stderr" unreachable 'words of a trap'
}

kill_gives_137_and_term_143() {
  trap 'remove kill-linux kill-wasm term-linux term-wasm' EXIT
  local name
  for name in kill-linux term-linux; do "$cli" run -d --name $name --init "$linux_image" sleep 100 >/dev/null; done
  for name in kill-wasm term-wasm; do "$cli" run -d --name $name "$modules_image" >/dev/null; done
  for name in kill-linux kill-wasm; do
    at_most 2000 "$cli" kill $name
    same 137 "$("$cli" wait $name)" "exit code of $name"
  done
  for name in term-linux term-wasm; do
    at_most 2000 "$cli" kill -s TERM $name
    same 143 "$("$cli" wait $name)" "exit code of $name"
  done
}

a_missing_program_gives_127() {
  refuses 127 'no such file or directory' "$linux_image" /no/such/program
  refuses 127 'executable file not found' "$linux_image" no-such-program
}

a_file_that_is_not_executable_gives_126() {
  refuses 126 'permission denied' "$linux_image" /etc/plain
}

a_mount_that_fails_is_refused_in_words() {
  # /etc/plain is a file, no place for a directory; the mounts before it have been made then
  try "$cli" run --rm --tmpfs /etc/plain/below "$linux_image" true
  [ "$status" != 0 ] || fail 'a directory was mounted below a file'
  has "$stderr" '/etc/plain' 'error of the mount'
}

broken_modules_are_refused_in_words() {
  try "$cli" run --rm "$modules_image" /truncated.wasm
  [ "$status" != 0 ] || fail 'a truncated module runs'
  has "$stderr" 'unexpected end' 'error of a truncated module'
  try "$cli" run --rm "$modules_image" /needs.wasm
  [ "$status" != 0 ] || fail 'a module with an import of nobody runs'
  has "$stderr" 'provides_this' 'error of a module with an import of nobody'
}

a_terminal_is_given_to_both_kinds() {
  local seen
  seen=$(at_a_terminal ready words "$cli" run --rm -it "$linux_image" \
    sh -c 'tty; echo ready; read -r line; echo "linux heard: $line"')
  has "$seen" /dev/pts/0 'terminal of the linux container'
  has "$seen" 'linux heard: words' 'what the linux container heard'
  seen=$(at_a_terminal 'wasm listens' words "$cli" run --rm -it "$modules_image" /hear.wasm)
  has "$seen" 'wasm heard: words' 'what the wasm container heard'
}

the_memory_limit_holds() {
  needs_controller memory
  try "$cli" run --rm -m 48m --memory-swap 48m "$linux_image" sh -c 'head -c 200m /dev/zero | tail'
  [ "$status" != 0 ] || fail 'a linux container took four times its memory'
  try "$cli" run --rm -m 48m --memory-swap 48m "$modules_image" /grow.wasm
  [ "$status" = 3 ] || [ "$status" = 137 ] || fail "a wasm container took four times its memory ($status, $stdout, $stderr)"
}

the_pids_limit_holds() {
  needs_controller pids
  try "$cli" run --rm --pids-limit 12 "$linux_image" sh -c 'i=0; while [ $i -lt 20 ]; do sleep 1 & i=$((i + 1)); done; wait; echo all of them'
  [[ $stdout != *'all of them'* ]] || fail '20 processes ran under a limit of 12'
  has "$stderr" "can't fork" 'words of the shell that could not fork'
  same 'hello from wasm' "$("$cli" run --rm --pids-limit 12 "$wasm_image")" 'output of a wasm container under a limit of 12'
}

a_port_is_published() {
  trap 'remove web' EXIT
  "$cli" run -d --name web -p 8080:80 "$linux_image" httpd -f -h /www >/dev/null
  eventually 5 curl -sf http://127.0.0.1:8080/
  same 'served by linux' "$(curl -s http://127.0.0.1:8080/)" 'page'
}

pause_stops_both_kinds_and_unpause_goes_on() {
  trap 'remove pause-linux pause-wasm' EXIT
  local name lines
  "$cli" run -d --name pause-linux "$linux_image" sh -c "$linux_service" >/dev/null
  "$cli" run -d --name pause-wasm "$modules_image" >/dev/null
  for name in pause-linux pause-wasm; do
    eventually 5 logs_have $name tick
    "$cli" pause $name >/dev/null
    same paused "$("$cli" inspect -f '{{.State.Status}}' $name)" "status of $name"
    lines=$("$cli" logs $name | wc -l)
    sleep 0.6
    same "$lines" "$("$cli" logs $name | wc -l)" "lines of $name while paused"
    "$cli" unpause $name >/dev/null
    sleep 0.6
    [ "$("$cli" logs $name | wc -l)" -gt "$lines" ] || fail "$name does not go on"
  done
}

a_stopped_container_starts_again() {
  trap 'remove again-linux again-wasm' EXIT
  local name
  "$cli" run --name again-linux "$linux_image" echo once >/dev/null
  "$cli" run --name again-wasm "$wasm_image" >/dev/null
  for name in again-linux again-wasm; do
    "$cli" start $name >/dev/null
    same 0 "$("$cli" wait $name)" "exit code of $name"
    same 2 "$("$cli" logs $name | wc -l)" "lines of $name after two runs"
  done
}

options_of_every_day_hold() {
  local found
  found=$("$cli" run --rm -u worker -w /tmp -e B=2 -e A=1 --hostname box "$linux_image" sh -c 'id -u; pwd; echo $B$A; hostname')
  same '1000 /tmp 21 box' "$(paste -sd ' ' <<<"$found")" 'user, directory, environment, host name'
  try "$cli" run --rm --read-only --tmpfs /tmp "$linux_image" sh -c 'touch /tmp/file && touch /file'
  [ "$status" != 0 ] || fail 'a read-only root took a file'
  has "$stderr" 'Read-only file system' 'error of the write'
  same 0000000000000000 "$("$cli" run --rm --cap-drop ALL "$linux_image" sed -n 's/CapEff:\t//p' /proc/self/status)" 'capabilities'
  same 2 "$("$cli" run --rm "$linux_image" sed -n 's/Seccomp:\t//p' /proc/self/status)" 'seccomp mode'
  same 1 "$("$cli" run --rm --security-opt no-new-privileges "$linux_image" sed -n 's/NoNewPrivs:\t//p' /proc/self/status)" 'no new privileges'
  same lo "$("$cli" run --rm --network none "$linux_image" ls /sys/class/net)" 'network devices'
  has "$("$cli" run --rm --privileged "$linux_image" sh -c 'mount -t tmpfs t /tmp && mount')" 't on /tmp' 'mounts of a privileged container'
  try "$cli" run --rm --ulimit nofile=64:64 "$linux_image" sh -c 'ulimit -n'
  same 64 "$stdout" "limit of open files ($stderr)"
}

a_volume_is_shared_by_both_kinds() {
  trap 'remove box-wasm; "$cli" volume rm box >/dev/null' EXIT
  "$cli" volume create box >/dev/null
  "$cli" run -d --name box-wasm -v box:/box "$modules_image" /postbox.wasm >/dev/null
  "$cli" run --rm -v box:/box "$linux_image" sh -c 'echo who is there >/box/question'
  eventually 5 "$cli" run --rm -v box:/box "$linux_image" grep -q . /box/answer
  same 'wasm answers: who is there' "$("$cli" run --rm -v box:/box "$linux_image" cat /box/answer)" 'answer'
}

# The last case: the ones before have removed their containers, so the world must look as it did before them.
nothing_is_left_behind() {
  same '' "$("$cli" ps -aq)" 'containers that still exist'
  nothing_is_left
}

common_cases=(
  a_linux_image_runs
  a_wasm_image_runs
  linux_and_wasm_run_at_the_same_time
  exec_runs_a_second_process
  exec_runs_a_second_module_in_a_wasm_container
  exec_of_a_missing_program_gives_127_and_of_a_plain_file_126
  exit_codes_come_through
  kill_gives_137_and_term_143
  a_missing_program_gives_127
  a_file_that_is_not_executable_gives_126
  a_mount_that_fails_is_refused_in_words
  broken_modules_are_refused_in_words
  a_terminal_is_given_to_both_kinds
  the_memory_limit_holds
  the_pids_limit_holds
  a_port_is_published
  pause_stops_both_kinds_and_unpause_goes_on
  a_stopped_container_starts_again
  options_of_every_day_hold
  a_volume_is_shared_by_both_kinds
)
