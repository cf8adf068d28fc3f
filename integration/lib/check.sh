# shellcheck shell=bash
# What a test case says about the world. A case is a shell function whose name is a claim; it runs in a shell of its own
# under `set -e`, so the first thing that is not as claimed ends it.

# Ends the case as failed, with the reason.
fail() {
  printf 'not so: %s\n' "$*" >&2
  exit 1
}

# Ends the case as skipped, with the reason. 77 is what other test drivers take as well.
skip() {
  printf '%s\n' "$*"
  exit 77
}

same() { # WANTED FOUND WHAT
  [ "$1" = "$2" ] || fail "$3: wanted \"$1\", found \"$2\""
}

has() { # TEXT PART WHAT
  [[ $1 == *"$2"* ]] || fail "$3: no \"$2\" in \"$1\""
}

one_line() { # TEXT WHAT
  [ "$(printf '%s\n' "$1" | grep -c .)" = 1 ] || fail "$2: not one line: \"$1\""
}

# Polls until the command succeeds: SECONDS COMMAND...
within() {
  local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# For what takes as long as it takes. The seconds are for a machine at rest; a busy one may need some times as many.
eventually() { # SECONDS COMMAND...
  within $(($1 * 4)) "${@:2}" || fail "not within $(($1 * 4)) s: ${*:2}"
}

# Runs the command, keeps its standard output, standard error and exit status.
try() {
  local errors
  errors=$(mktemp)
  status=0
  # shellcheck disable=SC2034 # for the case that calls this
  stdout=$("$@" 2>"$errors") || status=$?
  # shellcheck disable=SC2034
  stderr=$(<"$errors")
  rm "$errors"
}

milliseconds() { # COMMAND...
  local begun=${EPOCHREALTIME/[.,]/}
  "$@" >/dev/null
  echo $(((${EPOCHREALTIME/[.,]/} - begun) / 1000))
}

# Runs the command, which has to succeed within that many milliseconds, not counting what the engine's client itself takes:
# on a busy machine, seconds may go by before it has asked for anything. `ask` is the engine's cheapest question.
at_most() { # MILLISECONDS COMMAND...
  local limit=$1 client took
  shift
  client=$(milliseconds ask)
  took=$(milliseconds "$@")
  [ $((took - client)) -le "$limit" ] || fail "$* took $took ms, $client ms of which the client"
}

# Runs the command at a terminal; when it has said READY, types LINE. Prints what the terminal showed.
at_a_terminal() { # READY LINE COMMAND...
  local ready=$1 line=$2 screen keyboard
  shift 2
  screen=$(mktemp) keyboard=$(mktemp -u)
  mkfifo "$keyboard"
  script -qec "$(printf '%q ' "$@")" /dev/null <"$keyboard" >"$screen" &
  exec 8>"$keyboard"
  eventually 10 grep -q "$ready" "$screen"
  echo "$line" >&8
  wait $!
  exec 8>&-
  cat "$screen"
}

# ---- what the machine has ---------------------------------------------------------------------------------------------------

# Skips the case if the world's cgroup tree does not have the controller.
needs_controller() {
  if [ "$WORLD_CGROUP" = v2 ]; then
    grep -qw "$1" /sys/fs/cgroup/cgroup.controllers || skip "this v2 tree has no $1 controller (v1 hierarchies hold it, or it is not handed down)"
  else
    [ -d "/sys/fs/cgroup/$1" ] || skip "this machine has no v1 $1 hierarchy"
  fi
}

# ---- nothing left ------------------------------------------------------------------------------------------------------------

# Everything a container could leave behind, one line each. The case's own commands are in its process group (see `inside`).
# An engine sets `shared_cgroup`, the parent of all its containers, which stays as it does with runc, and `own_leftovers`, a
# regular expression, if it forgets directories whatever the runtime is.
traces() {
  local own
  own=$(ps -o pgid= $$)
  ps -e -o pgid=,pid=,args= | awk -v own="$own" '$1 != own + 0 {$1 = ""; print "process" $0}'
  # where, with which options, and the file system's own options: a container can change those for all
  awk '{print "mount " $5, $6, $NF}' /proc/self/mountinfo
  find /sys/class/net -mindepth 1 -maxdepth 1 -printf 'network device %f\n'
  find /sys/fs/cgroup -mindepth 1 -type d -printf 'cgroup %p\n' | grep -vE "^cgroup /sys/fs/cgroup(/[^/]*)?/$shared_cgroup\$"
  # state directories of the runtime and of the engines about a container
  find /run -type d -printf 'directory %p\n' | grep -vE "^directory ${own_leftovers:-none}"
}

remember_traces() { traces | sort >/tmp/traces.before; }

# Everything is gone within five seconds, or the case fails with a list of it.
nothing_is_left() {
  local tries
  for ((tries = 0; tries < 50; tries++)); do
    traces | sort >/tmp/traces.now
    comm -13 /tmp/traces.before /tmp/traces.now >/tmp/traces.left
    [ -s /tmp/traces.left ] || return 0
    sleep 0.1
  done
  fail "left behind: $(</tmp/traces.left)"
}
